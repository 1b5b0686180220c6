"""The embedded corpus: the German grammar against written-out tables, and the files themselves."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scripts import load_script

DATA = Path(__file__).resolve().parent.parent / "data"
SPLITS = {"train": 8000, "val": 500, "test": 500}
CASES = ("nom", "acc", "dat", "gen")


mini = load_script(DATA / "make_mini_corpus.py")


def phrase(noun, determiner=mini.INDEFINITE, adjectives=(), plural=False, **after):
    return mini.NounPhrase(mini.NOUNS[noun], determiner, tuple(adjectives), plural, **after)


def subject(noun, determiner=mini.INDEFINITE, adjectives=(), plural=False):
    return mini.Writer.subject(phrase(noun, determiner, adjectives, plural))


# The grammar

# noun, determiner, plural: nominative, accusative, dative, genitive, all with "klein"
DECLENSIONS = [
    (
        "Hund",
        "der",
        False,
        "der kleine Hund, den kleinen Hund, dem kleinen Hund, des kleinen Hundes",
    ),
    (
        "Katze",
        "der",
        False,
        "die kleine Katze, die kleine Katze, der kleinen Katze, der kleinen Katze",
    ),
    (
        "Pferd",
        "der",
        False,
        "das kleine Pferd, das kleine Pferd, dem kleinen Pferd, des kleinen Pferdes",
    ),
    (
        "Hund",
        "der",
        True,
        "die kleinen Hunde, die kleinen Hunde, den kleinen Hunden, der kleinen Hunde",
    ),
    (
        "Katze",
        "der",
        True,
        "die kleinen Katzen, die kleinen Katzen, den kleinen Katzen, der kleinen Katzen",
    ),
    (
        "Pferd",
        "der",
        True,
        "die kleinen Pferde, die kleinen Pferde, den kleinen Pferden, der kleinen Pferde",
    ),
    (
        "Hund",
        "ein",
        False,
        "ein kleiner Hund, einen kleinen Hund, einem kleinen Hund, eines kleinen Hundes",
    ),
    (
        "Katze",
        "ein",
        False,
        "eine kleine Katze, eine kleine Katze, einer kleinen Katze, einer kleinen Katze",
    ),
    (
        "Pferd",
        "ein",
        False,
        "ein kleines Pferd, ein kleines Pferd, einem kleinen Pferd, eines kleinen Pferdes",
    ),
    (
        "Hund",
        "sein",
        False,
        "sein kleiner Hund, seinen kleinen Hund, seinem kleinen Hund, seines kleinen Hundes",
    ),
    (
        "Hund",
        "ihr",
        True,
        "ihre kleinen Hunde, ihre kleinen Hunde, ihren kleinen Hunden, ihrer kleinen Hunde",
    ),
    ("Hund", "", False, "kleiner Hund, kleinen Hund, kleinem Hund, kleinen Hundes"),
    ("Katze", "", False, "kleine Katze, kleine Katze, kleiner Katze, kleiner Katze"),
    ("Pferd", "", False, "kleines Pferd, kleines Pferd, kleinem Pferd, kleinen Pferdes"),
    ("Hund", "", True, "kleine Hunde, kleine Hunde, kleinen Hunden, kleiner Hunde"),
    (
        "Hund",
        "drei",
        True,
        "drei kleine Hunde, drei kleine Hunde, drei kleinen Hunden, drei kleiner Hunde",
    ),
    (
        "Hund",
        "viel",
        True,
        "viele kleine Hunde, viele kleine Hunde, vielen kleinen Hunden, vieler kleiner Hunde",
    ),
    (
        "Junge",
        "der",
        False,
        "der kleine Junge, den kleinen Jungen, dem kleinen Jungen, des kleinen Jungen",
    ),
    (
        "Junge",
        "ein",
        False,
        "ein kleiner Junge, einen kleinen Jungen, einem kleinen Jungen, eines kleinen Jungen",
    ),
    (
        "Mädchen",
        "der",
        True,
        "die kleinen Mädchen, die kleinen Mädchen, den kleinen Mädchen, der kleinen Mädchen",
    ),
]
DETERMINERS = {
    "der": mini.DEFINITE,
    "ein": mini.INDEFINITE,
    "": mini.BARE,
    "sein": mini.Determiner("ein", "sein", "his"),
    "ihr": mini.Determiner("ein", "ihr", "their"),
    "drei": mini.Determiner("number", "drei", "three"),
    "viel": mini.Determiner("quantifier", "viel", "many"),
}


@pytest.mark.parametrize(("noun", "determiner", "plural", "expected"), DECLENSIONS)
def test_declension(noun, determiner, plural, expected):
    built = phrase(noun, DETERMINERS[determiner], ["klein"], plural)
    assert [mini.german_noun_phrase(built, case) for case in CASES] == expected.split(", ")


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("Student", "Studenten"),
        ("Bauer", "Bauern"),
        ("Polizist", "Polizisten"),
        ("Nachbar", "Nachbarn"),
        ("Löwe", "Löwen"),
        ("Bär", "Bären"),
        ("Elefant", "Elefanten"),
    ],
)
def test_n_declension(noun, expected):
    forms = [mini.noun_form(mini.NOUNS[noun], case) for case in CASES]
    assert forms == [noun, expected, expected, expected]


def test_other_masculines_are_not_weak():
    for noun in ("Mann", "Lehrer", "Hund", "Arzt", "Vater"):
        assert not mini.is_weak(mini.NOUNS[noun])
        assert mini.noun_form(mini.NOUNS[noun], "acc") == noun


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("Hund", "Hunden"),
        ("Frau", "Frauen"),
        ("Kind", "Kindern"),
        ("Auto", "Autos"),
        ("Apfel", "Äpfeln"),
        ("Mädchen", "Mädchen"),
        ("Garten", "Gärten"),
    ],
)
def test_dative_plural(noun, expected):
    assert mini.noun_form(mini.NOUNS[noun], "dat", plural=True) == expected


@pytest.mark.parametrize(
    ("noun", "adjective", "expected"),
    [
        ("Zaun", "hoch", "ein hoher Zaun"),
        ("Wald", "dunkel", "ein dunkler Wald"),
        ("Kamera", "teuer", "eine teure Kamera"),
        ("Kind", "müde", "ein müdes Kind"),
    ],
)
def test_adjectives_that_change_their_stem(noun, adjective, expected):
    assert mini.german_noun_phrase(phrase(noun, adjectives=[adjective]), "nom") == expected


@given(
    noun=st.sampled_from(sorted(mini.NOUNS)),
    case=st.sampled_from(CASES),
    determiner=st.sampled_from([mini.DEFINITE, mini.INDEFINITE, mini.BARE]),
    plural=st.booleans(),
)
def test_the_case_is_always_shown_once(noun, case, determiner, plural):
    """Where the article has no ending (ein, no article), the adjective shows gender and case."""
    noun = mini.NOUNS[noun]
    if plural and (determiner == mini.INDEFINITE or noun.plural == "-"):
        return
    column = mini.column(noun, plural)
    form = mini.adjective_form("neu", case, noun, plural, determiner.kind)
    strong = "neu" + mini.STRONG[case][column]
    if determiner == mini.BARE or (
        determiner == mini.INDEFINITE and not mini.EIN_ENDINGS[case][column]
    ):
        assert form == strong
    else:
        assert form in ("neue", "neuen", strong)


def test_ein_has_no_plural():
    with pytest.raises(ValueError, match="no plural"):
        mini.german_noun_phrase(phrase("Hund", plural=True), "nom")


@pytest.mark.parametrize(
    ("preposition", "noun", "direction", "expected"),
    [
        ("in", "Park", False, "im Park"),
        ("in", "Park", True, "in den Park"),
        ("in", "Wasser", True, "ins Wasser"),
        ("in", "Küche", False, "in der Küche"),
        ("in", "Küche", True, "in die Küche"),
        ("an", "Strand", False, "am Strand"),
        ("an", "Fenster", True, "ans Fenster"),
        ("auf", "Straße", False, "auf der Straße"),
        ("auf", "Tisch", True, "auf den Tisch"),
        ("über", "Zaun", True, "über den Zaun"),
        ("unter", "Tisch", False, "unter dem Tisch"),
        ("vor", "Haus", False, "vor dem Haus"),
        ("hinter", "Haus", True, "hinter das Haus"),
        ("neben", "Baum", False, "neben dem Baum"),
        ("zu", "Bahnhof", False, "zum Bahnhof"),
        ("zu", "Brücke", False, "zur Brücke"),
        ("von", "Mauer", False, "von der Mauer"),
        ("von", "Baum", False, "vom Baum"),
        ("bei", "Arzt", False, "beim Arzt"),
        ("mit", "Junge", False, "mit dem Jungen"),
        ("aus", "Haus", False, "aus dem Haus"),
        ("nach", "Regen", False, "nach dem Regen"),
        ("für", "Mutter", False, "für die Mutter"),
        ("durch", "Wald", False, "durch den Wald"),
        ("um", "See", False, "um den See"),
        ("gegen", "Mann", False, "gegen den Mann"),
        ("ohne", "Hut", False, "ohne den Hut"),
        ("wegen", "Regen", False, "wegen des Regens"),
        ("trotz", "Kälte", False, "trotz der Kälte"),
    ],
)
def test_prepositions_and_contractions(preposition, noun, direction, expected):
    built = phrase(noun, mini.DEFINITE)
    assert mini.german_prepositional(preposition, built, direction) == expected


def test_what_does_not_contract():
    assert mini.german_prepositional("in", phrase("Park")) == "in einem Park"
    built = phrase("Haus", mini.DEFINITE, plural=True)
    assert mini.german_prepositional("zwischen", built) == "zwischen den Häusern"
    built = phrase("Café", mini.DEFINITE, ["klein"])
    assert mini.german_prepositional("in", built) == "im kleinen Café"
    built = phrase("Hemd", mini.INDEFINITE, ["rot"])
    assert mini.german_prepositional("in", built) == "in einem roten Hemd"


@pytest.mark.parametrize(
    ("verb", "singular", "plural"),
    [
        ("laufen", "läuft", "laufen"),
        ("tragen:last", "trägt", "tragen"),
        ("halten", "hält", "halten"),
        ("essen", "isst", "essen"),
        ("fressen", "frisst", "fressen"),
        ("geben", "gibt", "geben"),
        ("werfen", "wirft", "werfen"),
        ("helfen", "hilft", "helfen"),
        ("waschen", "wäscht", "waschen"),
        ("arbeiten", "arbeitet", "arbeiten"),
        ("lächeln", "lächelt", "lächeln"),
    ],
)
def test_verbs_agree_with_their_subject(verb, singular, plural):
    assert mini.finite(mini.VERBS[verb], plural=False) == singular
    assert mini.finite(mini.VERBS[verb], plural=True) == plural


def test_separable_verbs():
    stop = mini.Predicate(mini.VERBS["anhalten"], early="den Ball", english="the ball")
    boy = subject("Junge")
    assert mini.main_clause(boy, stop) == "ein Junge hält den Ball an"
    assert mini.main_clause(boy, stop, "heute") == "heute hält ein Junge den Ball an"
    assert mini.verb_final("der", stop, plural=False) == "der den Ball anhält"
    assert mini.verb_final("die", stop, plural=True) == "die den Ball anhalten"
    assert mini.infinitive_clause(stop) == "den Ball anzuhalten"
    assert mini.english_clause(boy, stop) == "a boy is stopping the ball"


def test_reflexive_verbs():
    rest = mini.Predicate(mini.VERBS["ausruhen"])
    woman = subject("Frau")
    assert mini.main_clause(woman, rest) == "eine Frau ruht sich aus"
    assert mini.main_clause(woman, rest, "im Park") == "im Park ruht sich eine Frau aus"
    assert mini.verb_final("die", rest, plural=False) == "die sich ausruht"
    assert mini.infinitive_clause(rest) == "sich auszuruhen"


def test_the_verb_is_second():
    play = mini.Predicate(mini.VERBS["spielen"], late="Gitarre", english="the guitar")
    men = subject("Mann", DETERMINERS["drei"], ["alt"], plural=True)
    assert mini.main_clause(men, play) == "drei alte Männer spielen Gitarre"
    fronted = mini.main_clause(men, play, "auf der Straße")
    assert fronted == "auf der Straße spielen drei alte Männer Gitarre"
    clause = "weil es regnet,"
    assert mini.main_clause(men, play, clause) == "weil es regnet, spielen drei alte Männer Gitarre"


@pytest.mark.parametrize(
    ("noun", "plural", "expected"),
    [
        ("Mann", False, "der den dem dessen"),
        ("Frau", False, "die die der deren"),
        ("Kind", False, "das das dem dessen"),
        ("Mann", True, "die die denen deren"),
    ],
)
def test_relative_pronouns(noun, plural, expected):
    forms = [mini.relative_pronoun(mini.NOUNS[noun], plural, case) for case in CASES]
    assert forms == expected.split()


def test_relative_clauses_stand_between_commas():
    writer = mini.Writer(0)
    wear = mini.Predicate(mini.VERBS["tragen:kleidung"], late="einen Hut", english="a hat")
    sing = mini.Predicate(mini.VERBS["singen"])
    man = writer.subject(writer.with_relative(phrase("Mann"), wear))
    assert mini.main_clause(man, sing) == "ein Mann, der einen Hut trägt, singt"
    assert mini.english_clause(man, sing) == "a man who is wearing a hat is singing"
    dogs = writer.subject(
        writer.with_relative(
            phrase("Hund", mini.DEFINITE, plural=True), mini.Predicate(mini.VERBS["bellen"])
        )
    )
    assert mini.main_clause(dogs, sing) == "die Hunde, die bellen, singen"
    assert mini.english_clause(dogs, sing) == "the dogs that are barking are singing"


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (phrase("Apfel"), "an apple"),
        (phrase("Uniform"), "a uniform"),
        (phrase("Regenschirm"), "an umbrella"),
        (phrase("Regenschirm", adjectives=["blau"]), "a blue umbrella"),
        (phrase("Mann", adjectives=["alt"]), "an old man"),
        (phrase("Hose"), "pants"),
        (phrase("Hose", adjectives=["blau"]), "blue pants"),
        (phrase("Schaf"), "a sheep"),
        (phrase("Frau", DETERMINERS["drei"], plural=True), "three women"),
        (phrase("Maus", mini.BARE, plural=True), "mice"),
        (phrase("Baby", mini.DEFINITE, plural=True), "the babies"),
        (phrase("Kirche", mini.DEFINITE, plural=True), "the churches"),
        (phrase("Mann", adjectives=["groß"]), "a tall man"),
        (phrase("Hund", adjectives=["groß"]), "a big dog"),
    ],
)
def test_english_noun_phrases(built, expected):
    assert mini.english_noun_phrase(built) == expected


def test_numbers():
    assert list(mini.NUMBERS) == (
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split()
    )


def test_every_word_of_a_table_is_in_the_lexicon():
    for noun in mini.NOUNS.values():
        assert noun.gender in mini.COLUMNS[:3], noun
        assert noun.singular[0].isupper(), noun
        if noun.gender == "f":
            assert noun.genitive == noun.singular, noun
    for verb in mini.VERBS.values():
        assert verb.infinitive.endswith("n"), verb
        assert verb.singular.endswith("t"), verb
        assert verb.progressive.split()[0].endswith("ing"), verb


# The tables of words


@pytest.fixture
def tables(tmp_path):
    """A copy of the tables, to change."""
    return Path(shutil.copytree(DATA / "mini_grammar", tmp_path / "mini_grammar"))


def change(tables, name, old, new):
    path = tables / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("table", "old", "new", "entry", "field", "given"),
    [
        ("adjectives.tsv", "hot\n", "hot\t\tcolour\n", "heiß", "uses", "colour"),
        ("adjectives.tsv", "heiß\thot\n", "heiß\n", "heiß", "english", "nothing"),
        ("adverbs.tsv", "alone\tlast", "alone\tlate", "allein", "position", "late"),
        ("determiners.tsv", "number\tzwei", "numeral\tzwei", "numeral", "kind", "numeral"),
        ("nouns.tsv", "Katze\tf", "Katze\tx", "Katze", "gender", "x"),
        ("nouns.tsv", "Katze\tf", "katze\tf", "katze", "german", "katze"),
        ("nouns.tsv", "f\tKatze", "f\tKatzes", "Katze", "genitive", "Katzes"),
        ("nouns.tsv", "weiß blau gelb bunt", "weiß blaue gelb", "Vogel", "adjectives", "blaue"),
        ("nouns.tsv", "Kuh\tf\tKuh", "Katze\tf\tKatze", "Katze", "german", "Katze"),
        ("verbs.tsv", "weint\t\tcry", "weinen\t\tcry", "weinen", "singular", "weinen"),
        ("verbs.tsv", "crying", "cries", "weinen", "progressive", "cries"),
        ("groups.tsv", "Polizist ", "Polizei ", "police", "members", "Polizei"),
        ("places.tsv", "unter\tBaum", "unter\tBäume", "unter", "noun", "Bäume"),
        ("activities.tsv", "all\twarten", "everyone\twarten", "everyone", "who", "everyone"),
        ("activities.tsv", "klatschen\tnone\t", "klatschen\tnone\tKeks", "all", "objects", "Keks"),
        ("activities.tsv", "klatschen\tnone", "klatschen\tmany", "all", "kind", "many"),
        ("activities.tsv", "wait wait street", "wait wiat", "all", "uses", "wiat"),
        ("activities.tsv", "Schach=chess", "Schach", "all", "objects", "Schach, Karten=cards"),
        ("motions.tsv", "gehen\tdurch\tTor", "gehen\tdurhc\tTor", "all", "preposition", "durhc"),
        ("motions.tsv", "flyer\tfliegen\tüber\tSee", "bird\tfliegen\tüber\tSee", "bird",
         "who", "bird"),
        ("motions.tsv", "child\thinaufgehen\t\tHügel", "all\thinaufgehen\t\tHügel", "all", "who",
         "all"),
        ("arrangements.tsv", "hängen\thängen\tBild P", "hängen\thäng\tBild P", "hängen", "puts",
         "häng"),
        ("giving.tsv", "vorlesen", "lesen vor", "lesen vor", "verb", "lesen vor"),
        ("clauses.tsv", "an Bahnhof", "am Bahnhof", "until", "places", "am Bahnhof"),
        ("lists.tsv", "owned_animals", "own_animals", "own_animals", "list", "own_animals"),
        ("lists.tsv", "feelings\tschlafen", "feelings\tschlaf", "feelings", "key", "schlaf"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_table_is_named(tables, table, old, new, entry, field, given):
    change(tables, table, old, new)
    with pytest.raises(mini.VocabularyError) as caught:
        mini.load_vocabulary(tables)
    assert re.match(rf"{table}, line \d+, entry {entry!r}, field {field!r}: ", str(caught.value))
    assert f"{given!r} given, expected" in str(caught.value) or "twice" in str(caught.value)


def test_what_is_missing_from_a_table_is_named(tables):
    change(tables, "lists.tsv", "owned_animals\t\tHund Katze Pferd Esel\n", "")
    with pytest.raises(mini.VocabularyError, match=r"lists\.tsv: no line for owned_animals"):
        mini.load_vocabulary(tables)
    change(tables, "verbs.tsv", "versuchen\t", "probieren\t")
    with pytest.raises(mini.VocabularyError, match=r"verbs\.tsv: no line for versuchen"):
        mini.load_vocabulary(tables)
    change(tables, "nouns.tsv", "genitive\tplural", "plural\tgenitive")
    with pytest.raises(mini.VocabularyError, match=r"nouns\.tsv, line 1: .* expected the columns"):
        mini.load_vocabulary(tables)
    (tables / "nouns.tsv").unlink()
    with pytest.raises(mini.VocabularyError, match=r"nouns\.tsv cannot be read"):
        mini.load_vocabulary(tables)


def test_what_editors_do_to_a_table_changes_nothing(tables):
    """Windows line ends, a byte order mark, empty lines, quotation marks, tabs kept at the end."""
    for path in tables.glob("*.tsv"):
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        missing = header.count("\t")
        cells = [(line + "\t" * (missing - line.count("\t"))).split("\t") for line in lines]
        quoted = ["\t".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in cells]
        text = "\r\n".join([header, "", *quoted, ""])
        path.write_bytes(text.encode("utf-8-sig"))
    assert mini.load_vocabulary(tables) == mini.VOCABULARY


def test_the_command_reports_a_mistake_without_a_traceback(tables):
    script = shutil.copy(DATA / "make_mini_corpus.py", tables.parent)
    change(tables, "nouns.tsv", "Katze\tf", "Katze\tx")
    result = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("make_mini_corpus: nouns.tsv, line ")
    assert "Traceback" not in result.stderr


def test_a_word_added_as_the_readme_says_occurs(tables, monkeypatch):
    readme = (tables / "README.md").read_text(encoding="utf-8")
    line = next(line.strip() for line in readme.splitlines() if line.startswith("    Anorak"))
    with (tables / "nouns.tsv").open("a", encoding="utf-8") as file:
        file.write(line.replace("⇥", "\t") + "\n")
    monkeypatch.setattr(mini, "NOUNS", mini.load_vocabulary(tables).nouns)
    writer = mini.Writer(0)
    sentences = [writer.sentence() for _ in range(2000)]
    worn = [english for german, english in sentences if "Anorak" in german]
    assert len(worn) >= mini.RARE
    assert all("anorak" in english for english in worn)


# The files


@pytest.fixture(scope="module")
def files():
    """The generator's output, made once."""
    return mini.make_files()


@pytest.fixture(scope="module")
def corpus():
    """The committed files as lists of sentences, by split and language."""
    read = {}
    for split in SPLITS:
        for language in ("de", "en"):
            text = (DATA / "mini" / f"{split}.{language}").read_text(encoding="utf-8")
            read[split, language] = text.splitlines()
    return read


def test_files_are_what_the_generator_writes(files):
    for name, content in files.items():
        assert (DATA / "mini" / name).read_bytes() == content, name


def test_check_finds_a_changed_file(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mini, "make_files", lambda: files)
    assert mini.main(["--out", str(tmp_path / "new")]) == 0
    assert mini.main(["--out", str(tmp_path / "new"), "--check"]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(files)
    with (tmp_path / "new" / "val.en").open("a", encoding="utf-8") as file:
        file.write("One more.\n")
    capsys.readouterr()
    assert mini.main(["--out", str(tmp_path / "new"), "--check"]) == 1
    assert "val.en" in capsys.readouterr().err


def test_sizes(corpus, files):
    for split, at_least in SPLITS.items():
        assert len(corpus[split, "de"]) == len(corpus[split, "en"]) >= at_least
    assert sum(len(content) for content in files.values()) < 2_000_000


def test_sentences_are_well_formed(corpus):
    for key, sentences in corpus.items():
        for sentence in sentences:
            assert re.fullmatch(r"[A-ZÄÖÜ][^\s.]*(?: [^\s.]+)*\.", sentence), (key, sentence)
            assert ",," not in sentence, (key, sentence)
            assert ",." not in sentence, (key, sentence)
            assert 2 <= len(sentence.split()) <= mini.MAX_WORDS, (key, sentence)


def test_no_sentence_occurs_twice(corpus):
    for language in ("de", "en"):
        everything = [line for split in SPLITS for line in corpus[split, language]]
        assert len(set(everything)) == len(everything)


def test_vocabulary(corpus):
    for language in ("de", "en"):
        train = Counter(word for line in corpus["train", language] for word in mini.words(line))
        assert len(train) >= 400
        for split in ("val", "test"):
            held_out = {word for line in corpus[split, language] for word in mini.words(line)}
            assert min(train[word] for word in held_out) >= 10
    lemmas = len(mini.NOUNS) + len(mini.VERBS) + len(mini.ADJECTIVES) + len(mini.ADVERBS)
    assert lemmas >= 400


def test_english_articles_in_the_files(corpus):
    lines = "\n".join(line for split in SPLITS for line in corpus[split, "en"])
    assert not re.search(r"\b[Aa] (?!uni)[aeiou]", lines)
    assert not re.search(r"\b[Aa]n [^aeiou\s]", lines)
    assert not re.search(r"\b[Aa]n uni", lines)


def test_german_contracts_where_it_can(corpus):
    lines = "\n".join(line for split in SPLITS for line in corpus[split, "de"]).lower()
    # before a comma-less noun phrase; "in dem ein Mann steht" would be a relative pronoun
    assert not re.search(r"(?<!, )\b(in dem|an dem|von dem|zu dem|zu der|in das|an das)\b", lines)
