const answers = [];
const sides = [...document.querySelectorAll("#pair button")];
const element = (id) => document.getElementById(id);
const cell = (text) => `"${text.replaceAll('"', '""')}"`;

function table() {
  const rows = data.known.map(([winner, loser, tie]) => [winner, loser, tie]);
  answers.forEach((answer, at) => {
    const [one, other] = data.questions[at].map((place) => data.names[place]);
    rows.push(answer === 2 ? [other, one, "0"] : [one, other, answer === 0 ? "1" : "0"]);
  });
  return "winner,loser,tie\n" + rows.map(([a, b, tie]) => `${cell(a)},${cell(b)},${tie}\n`).join("");
}

function show() {
  const [at, all] = [answers.length, data.questions.length];
  const done = at === all;
  element("pair").hidden = done;
  element("tie").hidden = done;
  element("back").disabled = at === 0;
  element("status").textContent = done ? `All ${all} questions are answered.` : `Question ${at + 1} of ${all}`;
  if (!done) {
    data.questions[at].forEach((place, side) => {
      sides[side].querySelector("img").src = data.pictures[place];
      sides[side].querySelector("span").textContent = `${side + 1}: ${data.names[place]}`;
    });
  }
  if (done && at > 0) element("keep").focus(); // what had the focus is gone
  element("keep").href = "data:text/csv;charset=utf-8," + encodeURIComponent(table());
}

function answer(value) {
  if (answers.length < data.questions.length) {
    answers.push(value);
    show();
  }
}

function takeBack() {
  answers.pop();
  show();
}

sides.forEach((side) => side.addEventListener("click", () => answer(Number(side.dataset.answer))));
element("tie").addEventListener("click", () => answer(0));
element("back").addEventListener("click", takeBack);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["0", "1", "2"].includes(event.key)) answer(Number(event.key));
  if (event.key === "Backspace") takeBack();
});
show();
