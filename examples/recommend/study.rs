//! Every way to recommend, fitted on all but the last choices and scored by these.

use std::time::Instant;

use clip_adapter::{
    Error, Result, Run,
    burn::tensor::Device,
    evaluate::ranking::{RankingReport, best},
    tasks::recommendation::{
        Bpr, Ease, FittedTower, Histories, HistoryMean, Popularity, Random, Recommendation, Recommender,
        Tower, evaluate,
    },
};

use crate::{Arguments, items::Items};

/// Every method's name on the command line.
const METHODS: [&str; 7] = ["random", "popularity", "ease", "bpr", "vbpr", "history", "tower"];

/// Items at most for EASE where nobody asked for it: minutes of one core, and 3 GB.
const EASE_ITEMS: usize = 10_000;

/// One line of the table.
pub struct Row {
    pub name: &'static str,
    pub warm: RankingReport,
    /// The same among the items that nobody chose but as the last one.
    pub cold: Option<RankingReport>,
    pub cold_items: usize,
    pub fit_seconds: f64,
    pub score_seconds: f64,
}

/// What is recommended to a user, and by what.
pub struct Shown {
    pub found: Vec<Recommendation>,
    pub tower: Option<FittedTower>,
}

pub struct Study<'a> {
    arguments: &'a Arguments,
    items: Option<&'a Items>,
    all: &'a Histories,
    earlier: Histories,
    warm: Vec<Option<usize>>,
    cold: Vec<Option<usize>>,
    /// Items that are new, and all others.
    new: Vec<usize>,
    known: Vec<usize>,
    device: &'a Device,
}

impl<'a> Study<'a> {
    pub fn new(
        arguments: &'a Arguments,
        items: Option<&'a Items>,
        all: &'a Histories,
        device: &'a Device,
    ) -> Self {
        let (earlier, mut last) = all.leave_last_out();
        if let Some(scored) = arguments.scored {
            let step = last.len().div_ceil(scored.max(1)).max(1);
            last.iter_mut()
                .enumerate()
                .filter(|(user, _)| user % step != 0)
                .for_each(|(_, last)| *last = None);
        }
        let counts = earlier.popularity();
        let (new, known): (Vec<usize>, Vec<usize>) = (0..counts.len()).partition(|&item| counts[item] == 0);
        // Only pictures can find what is new, and only they are asked to.
        let is_cold = |item: &usize| items.is_some() && counts[*item] == 0;
        let cold = last.iter().map(|item| item.filter(is_cold)).collect();
        let warm = last.iter().map(|item| item.filter(|item| !is_cold(item))).collect();
        Self { arguments, items, all, earlier, warm, cold, new, known, device }
    }

    /// The table, and what is not in it.
    pub fn run(&self) -> Result<(Vec<Row>, Vec<String>)> {
        let (histories, seed) = (&self.earlier, self.arguments.seed);
        let wanted = |name: &str| match &self.arguments.methods {
            Some(methods) => methods.iter().any(|method| method == name),
            None => true,
        };
        if let Some(unknown) =
            self.arguments.methods.iter().flatten().find(|name| !METHODS.contains(&&***name))
        {
            return Err(Error::setting("methods", format!("some of {}", METHODS.join(", ")), unknown));
        }
        let (mut rows, mut left) = (Vec::new(), Vec::new());
        let bpr = Bpr { seed, epochs: self.arguments.epochs, ..Bpr::default() };
        let mut run = Run::new(self.device);
        if wanted("random") {
            let model = Random { items: histories.items().len(), seed };
            rows.push(self.row(&model, &model, 0.0)?);
        }
        if wanted("popularity") {
            let (model, seconds) = timed(|| Ok(Popularity::fit(histories)))?;
            rows.push(self.row(&model, &model, seconds)?);
        }
        if wanted("ease") {
            if self.takes_ease() {
                let (model, seconds) = timed(|| Ease { lambda: self.arguments.lambda }.fit(histories))?;
                rows.push(self.row(&model, &model, seconds)?);
            } else {
                left.push(format!(
                    "EASE, whose matrix of {} items squared is too large",
                    histories.items().len()
                ));
            }
        }
        if wanted("bpr") {
            let (model, seconds) = timed(|| bpr.fit(histories, None, &mut run))?;
            rows.push(self.row(&model, &model, seconds)?);
        }
        let Some(Items { catalogue, .. }) = self.items else {
            left.push("what takes pictures: --items has them".to_owned());
            return Ok((rows, left));
        };
        if wanted("vbpr") {
            let (model, seconds) = timed(|| bpr.fit(histories, Some(catalogue), &mut run))?;
            let pictures = model.pictures_only();
            rows.push(self.row(&model, pictures.as_ref().unwrap_or(&model), seconds)?);
        }
        if wanted("history") {
            for model in [HistoryMean::raw(catalogue), HistoryMean::new(catalogue)] {
                rows.push(self.row(&model, &model, 0.0)?);
            }
        }
        if wanted("tower") {
            let (model, seconds) = timed(|| self.tower(histories))?;
            let plain = model.without_popularity();
            if model.beta() > 0.0 {
                rows.push(self.row(&plain, &plain, seconds)?);
            }
            rows.push(self.row(&model, &model, seconds)?);
        }
        Ok((rows, left))
    }

    /// Asked for by name, EASE itself says what it cannot.
    fn takes_ease(&self) -> bool {
        match &self.arguments.methods {
            Some(methods) => methods.iter().any(|method| method == "ease"),
            None => self.all.items().len() <= EASE_ITEMS,
        }
    }

    fn tower(&self, histories: &Histories) -> Result<FittedTower> {
        let Some(Items { catalogue, .. }) = self.items else {
            return Err(Error::setting("items", "pictures for a tower", "none"));
        };
        let tower = Tower { seed: self.arguments.seed, epochs: self.arguments.epochs, ..Tower::default() };
        tower.fit(catalogue, histories, &mut Run::new(self.device))
    }

    fn row(&self, model: &dyn Recommender, for_new: &dyn Recommender, fit_seconds: f64) -> Result<Row> {
        let hidden: &[usize] = if self.items.is_some() { &self.new } else { &[] };
        let (warm, score_seconds) = timed(|| evaluate(model, &self.earlier, &self.warm, hidden, 10))?;
        let cold = match self.cold.iter().any(Option::is_some) {
            true => Some(evaluate(for_new, &self.earlier, &self.cold, &self.known, 10)?),
            false => None,
        };
        let cold_items = self.new.len();
        Ok(Row { name: model.name(), warm, cold, cold_items, fit_seconds, score_seconds })
    }

    /// By the tower where there are pictures, or else by EASE or popularity; fitted on all choices.
    pub fn recommend(&self, user: usize, top: usize) -> Result<Shown> {
        let history = self.all.of(user);
        let wanted = |name: &str| {
            self.arguments.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method == name))
        };
        if self.items.is_some() && wanted("tower") {
            let tower = self.tower(self.all)?;
            return Ok(Shown { found: tower.recommend(history, top)?, tower: Some(tower) });
        }
        let scores = match self.takes_ease() {
            true => Ease { lambda: self.arguments.lambda }.fit(self.all)?.scores(user, history),
            false => Popularity::fit(self.all).scores(user, history),
        };
        let found = best(&scores, history, top).into_iter();
        let found = found.map(|item| Recommendation::plain(item, &self.all.items()[item], scores[item]));
        Ok(Shown { found: found.collect(), tower: None })
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = Instant::now();
    Ok((work()?, start.elapsed().as_secs_f64()))
}
