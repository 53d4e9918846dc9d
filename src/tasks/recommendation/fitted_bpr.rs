use super::Recommender;
use crate::evaluate::retrieval::dot;

/// What [`Bpr::fit`](super::Bpr::fit) learned: a vector a user and an item. It knows no user who came later.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedBpr {
    users: Vec<f32>,   // [users, factors]
    vectors: Vec<f32>, // [items, factors]
    factors: usize,
    biases: Vec<f32>,
    pictures: Option<ByPicture>,
}

#[derive(Debug, Clone, PartialEq)]
struct ByPicture {
    users: Vec<f32>, // [users, width]
    items: Vec<f32>, // [items, width], E x
    width: usize,
}

impl FittedBpr {
    pub(super) fn new(
        (users, vectors, factors): (Vec<f32>, Vec<f32>, usize),
        biases: Vec<f32>,
        pictures: Option<(Vec<f32>, Vec<f32>, usize)>,
    ) -> Self {
        let pictures = pictures.map(|(users, items, width)| ByPicture { users, items, width });
        Self { users, vectors, factors, biases, pictures }
    }

    /// The same of pictures alone, `t_u E x_i`: for items that nobody chose, of which nothing else is known but that
    /// they were not chosen. None where there were no pictures.
    pub fn pictures_only(&self) -> Option<Self> {
        self.pictures.as_ref()?;
        let zeros = |values: &[f32]| vec![0.0; values.len()];
        let (users, vectors, biases) = (zeros(&self.users), zeros(&self.vectors), zeros(&self.biases));
        Some(Self { users, vectors, biases, ..self.clone() })
    }
}

impl Recommender for FittedBpr {
    fn name(&self) -> &'static str {
        if self.pictures.is_some() { "vbpr" } else { "bpr" }
    }

    fn scores(&self, user: usize, _history: &[usize]) -> Vec<f32> {
        let of_user = &self.users[user * self.factors..][..self.factors];
        let items = self.vectors.chunks_exact(self.factors).zip(&self.biases);
        let mut scores: Vec<f32> = items.map(|(item, bias)| bias + dot(of_user, item)).collect();
        if let Some(ByPicture { users, items, width }) = &self.pictures {
            let of_user = &users[user * width..][..*width];
            let items = items.chunks_exact(*width);
            scores.iter_mut().zip(items).for_each(|(score, item)| *score += dot(of_user, item));
        }
        scores
    }
}
