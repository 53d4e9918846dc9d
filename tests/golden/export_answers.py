"""What the official evaluator of VQA makes of answers, for testing how answers are normalised and scored.

Writes `answers.json` beside itself:

- `made_by`: the versions of what made it;
- `normalised`: `[answer, normalised]` of an answer that is judged;
- `people`: `[answer, without marks]` of a person's answer, where not all are alike;
- `questions`: `[answer, [people's answers], accuracy in percent]`.

Accuracies come from its `evaluate`, and texts from the two methods that this calls; nothing of them is written again here.
It is no package: take
`PythonEvaluationTools/vqaEvaluation/vqaEval.py` of the repository GT-Vision-Lab/VQA (commit c4e6a0e) and give its path.
Nothing is random, and a second run writes the same bytes.

    python export_answers.py vqaEval.py
"""
import importlib.util
import json
import platform
import sys
import warnings
from copy import deepcopy
from pathlib import Path

ROOT = Path(__file__).resolve().parent

ANSWERS = r"""
yes|Yes|YES!|no|No.|no, thanks|a dog|The dog|an apple|the  the cat|a|the|An|dogs and cats|black and white|red/white|red / white
t-shirt|t - shirt|3-way|x-ray, chest|stop sign|"stop"|'stop'|(red)|[blue]|{green}|<b>|a=b|a = b|2+2|2 + 2|2+2=4|\n|a\b|snake_case
@home|user@host|`tick`|one, two|one,two|1,2|1,000|1, 000|1,000 dogs/cats|10,000; about|what?|what ?|what?!|really!|hm...|...|.|..5
3.5|3. 5|.5|5.|5. dogs|1.2.3|v1.|end.|U.S.A.|u.s.|Mr. Smith|a.b.c|10 a.m.|10:30|10:30 am|10 : 30|1:2,3|50%|$5|$5.00|#1|50 % off|&|rock & roll|~|a*b|^
zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|none|None|Two dogs|twenty one|one hundred|1st|two-thirds|two thirds|ones|none of them
dont|don't|dont know|Dont|DON'T|cant|can't see|isnt|wont|im|Im|ive|its|it's|its a dog|lets|let's|hes|he's|shes|she's|theyre|they're|thats|that's|whats
youre|youve|yall|y'all|y'allll|yall'd've|y'all'dve|y'alld've|ow's'at|'ows'at|'ow'sat|'ow's'at|twas|oclock|5 oclock|5 o'clock|maam|somebody'd|somebodyd
somebodyd've|somebody'dve|someones|somethingll|couldnt've|couldn'tve|couldntve|Id've|I'dve|we'dve|wed've|weve|werent|were|well|wheres|whereve|whod've|who'dve
whyre|wouldnt've|wouldn'tve|hadnt've|shouldn'tve|mightnt've|notve|oughtnt|shant|shed've|shed|she'd|there'dve|therere|thered|they'dve|what's|whatve|whens
 leading|trailing |  both  |tab	between|non breaking|em space|zero​width|line separator|x
café|CAFÉ|naïve|Straße|ÄÖÜ|İstanbul|ΟΔΟΣ|Москва|東京|東京、大阪|ひらがな|한국어|العربية|हिन्दी|٣,٤ a-b|٣.٤|१,२/३|½|²,3|Ⅷ|“quoted”|‘single’|don’t|en–dash|em—dash|…|¿qué?
🐶|🐶 dog|a🐶|👍🏽|1️⃣|a  b   c|-5|- 5|5 -|--|a--b|a -- b|;|; |a;b|a; b|a ;b|a,b;c|a, b;c|a,b; c|1,2;c|(a) b|(a)b|a(b)|a (b)|[ ]|{}|?|!|?!|a?b|a? b|a ?b|a!b
unanswerable|unsuitable|not sure|i don't know|i dont know|left, right|left,right|left/right|left / right|frisbee.|frisbee ,|http://a.b/c?d=e|a@b.c|file_name.txt|C:\dir
1,2 a.b|1 ,2|1, 2|a,1|1,a|12,34.56|0.5-1.0|0.5 - 1.0|7-11|7 - 11|7- 11|9/11|24/7|20,000 leagues under the sea|the a an|a the|an hour|A.|The.|one.|two,|three!|(four)
one/two|one / two|none.|ten!|"ten"|ten'|'ten|ten's|ones.|dont.|dont!|don't!|(dont)|dont,|dont/cant|dont / cant|isnt it?|isnt-it|wouldnt|Wouldnt.|WOULDNT"""

STOPS = "." * 31 + "a", "." * 32 + "b", "." * 33 + "c", "a." * 40, ". " * 40, "1." * 40, "\ta\nb\t", "a\x1cb", "\x1fa\x1f", "a\r\nb", "\u2028a"

PEOPLE = (
    ["yes"] * 10, ["Yes"] * 10, ["yes"] * 9 + ["Yes"], ["Yes!"] * 10, ["Yes!"] * 5 + ["yes"] * 5, ["no"] * 7 + ["no."] * 3,
    ["a dog"] * 3 + ["dog"] * 3 + ["the dog"] * 4, ["2"] * 4 + ["two"] * 6, ["two"] * 10, ["don't"] * 5 + ["dont"] * 5,
    ["red/white"] * 5 + ["red white"] * 5, ["red, white"] * 5 + ["red white"] * 5, ["1,000"] * 5 + ["1000"] * 5,
    ["3.5"] * 3 + ["3.5."] * 7, ["t-shirt"] * 2 + ["t shirt"] * 3 + ["shirt"] * 5, list("abcdefghij"), ["yes", "no"] * 5,
    ["yes"] * 2 + ["no"] * 8, ["yes"] * 3 + ["no"] * 7, ["yes"] + ["no"] * 9, ["yes"] * 4 + ["maybe"] * 6, ["yes"],
    ["yes", "no", "no"], [" yes"] * 5 + ["yes "] * 5, ["unanswerable"] * 6 + ["unsuitable"] * 4, ["stop"] * 3 + ["\"stop\""] * 7,
)
JUDGED = ("yes", "Yes!", "no.", "The dog", "two", "dont", "red/white", "red white", "1,000", "3.5", "t-shirt", "a", "stop", "unsuitable")


class Stub:
    """What the evaluator asks of a data set."""

    def __init__(self, qa):
        self.qa = qa

    def getQuesIds(self):
        return list(self.qa)


def main():
    warnings.simplefilter("ignore")  # escapes of the evaluator's expressions, which a later Python complains of
    spec = importlib.util.spec_from_file_location("vqaEval", sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    cases = [(answer, people) for people in PEOPLE for answer in JUDGED]
    given = {at: {"answer": answer} for at, (answer, _) in enumerate(cases)}
    asked = {
        at: {
            "question_type": "any",
            "answer_type": "any",
            "answers": [{"answer": text, "answer_id": place} for place, text in enumerate(people)],
        }
        for at, (_, people) in enumerate(cases)
    }
    judge = module.VQAEval(Stub(deepcopy(asked)), Stub(given), n=6)
    judge.evaluate()

    answers = [a for line in ANSWERS.strip("\n").split("\n") for a in line.split("|")] + list(STOPS)
    answers = list(dict.fromkeys(answers))

    def normalised(answer):
        line = answer.replace("\n", " ").replace("\t", " ").strip()  # as the first lines of `evaluate`
        return judge.processDigitArticle(judge.processPunctuation(line))

    out = {
        "made_by": {"python": platform.python_version(), "evaluator": "GT-Vision-Lab/VQA c4e6a0e"},
        "normalised": [[answer, normalised(answer)] for answer in answers],
        "people": [[answer, judge.processPunctuation(answer)] for answer in answers],
        "questions": [[answer, people, judge.evalQA[at]] for at, (answer, people) in enumerate(cases)],
    }
    text = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
    (ROOT / "answers.json").write_text(text.replace('],["', '],\n["') + "\n")
    print(len(answers), "answers,", len(cases), "questions")


if __name__ == "__main__":
    main()
