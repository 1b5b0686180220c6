"""Write the embedded corpus ``data/mini``: German image captions and their English translations.

The corpus is what a learner trains on when Multi30k cannot be downloaded. A small grammar writes
it, from the words in ``data/mini_grammar`` (README.md there says how to add one). Here stand the
reading of those tables, German grammar, English grammar, the templates that put sentences
together, and last the splits and the files. Every sentence is built once as a structure and spelled
out twice, so the two sides always agree in meaning, and the English is a function of the German: no
construction has two translations in the same context.

    python data/make_mini_corpus.py                  write data/mini
    python data/make_mini_corpus.py --out FOLDER     write another folder
    python data/make_mini_corpus.py --check          write nothing; exit 1 if the files differ

The same seed gives the same bytes on every Python from 3.9 on: the only source of chance is
``Random.random``, whose sequence the language guarantees, and nothing depends on the order of a set
or on hash values.
"""

import argparse
import os
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

SEED = 20170706
SPLIT_SIZES = {"train": 10_000, "val": 500, "test": 500}
# Sentences with a word seen less often are left out, and what is held out has only words that
# training shows at least this often.
RARE = 12
MAX_WORDS = 24

# -------------------------------------------------------------------------------------------------
# Tables of the grammar
# -------------------------------------------------------------------------------------------------

# Columns of every table below: masculine, feminine, neuter, plural.
COLUMNS = ("m", "f", "n", "pl")


def declension(nom, acc, dat, gen):
    """A table of endings: ``table[case][column]``; ``-`` in a row stands for no ending."""
    rows = {"nom": nom, "acc": acc, "dat": dat, "gen": gen}
    return {
        case: {column: word.replace("-", "") for column, word in zip(COLUMNS, row.split())}
        for case, row in rows.items()
    }


DEFINITE_ARTICLE = declension(
    nom="der die das die", acc="den die das die", dat="dem der dem den", gen="des der des der"
)
RELATIVE_PRONOUN = declension(
    nom="der die das die",
    acc="den die das die",
    dat="dem der dem denen",
    gen="dessen deren dessen deren",
)
EIN_ENDINGS = declension(nom="- e - e", acc="en e - e", dat="em er em en", gen="es er es er")

# Adjective endings: strong where no article shows the case, weak after "der", mixed after "ein".
STRONG = declension(nom="er e es e", acc="en e es e", dat="em er em en", gen="en er en er")
WEAK = declension(nom="e e e en", acc="en e e en", dat="en en en en", gen="en en en en")
MIXED = declension(nom="er e es en", acc="en e es en", dat="en en en en", gen="en en en en")

# Prepositions with one case; the two-way prepositions take the dative for a place, the accusative
# for a direction.
PREPOSITION_CASE = {
    "mit": "dat",
    "aus": "dat",
    "von": "dat",
    "zu": "dat",
    "bei": "dat",
    "nach": "dat",
    "für": "acc",
    "durch": "acc",
    "um": "acc",
    "gegen": "acc",
    "ohne": "acc",
    "wegen": "gen",
    "trotz": "gen",
}
TWO_WAY = ("in", "an", "auf", "über", "unter", "vor", "hinter", "neben", "zwischen")
CONTRACTIONS = {
    "in dem": "im",
    "an dem": "am",
    "von dem": "vom",
    "zu dem": "zum",
    "zu der": "zur",
    "bei dem": "beim",
    "in das": "ins",
    "an das": "ans",
}
PREPOSITIONS = (*PREPOSITION_CASE, *TWO_WAY)
# The English prepositions of things that stand, lie or hang somewhere.
PLACE_ENGLISH = {
    "auf": "on",
    "neben": "next to",
    "unter": "under",
    "hinter": "behind",
    "vor": "in front of",
    "in": "in",
    "an": "on",
    "über": "above",
    "zwischen": "between",
}


# -------------------------------------------------------------------------------------------------
# The vocabulary: what a row of each table becomes
# -------------------------------------------------------------------------------------------------


class Adjective(NamedTuple):
    english: str
    stem: str  # what endings are attached to: hoh- for hoch
    uses: tuple[str, ...]


class Adverb(NamedTuple):
    english: str
    last: bool  # English puts it after the object: alone, not slowly


class Noun(NamedTuple):
    """A noun in both languages. ``tags`` say what it is, ``adjectives`` what it can be."""

    gender: str  # "m", "f" or "n"
    singular: str
    genitive: str  # singular; a masculine whose genitive does not end in -s is of the n-declension
    plural: str
    english: str
    english_plural: str
    tags: tuple[str, ...]
    adjectives: tuple[str, ...]


class Verb(NamedTuple):
    """A verb in both languages; only third persons occur, and the plural is the infinitive."""

    particle: str  # "an" in anhalten, empty for a verb that does not separate
    infinitive: str  # without the particle
    singular: str  # third person singular, with its change of stem
    reflexive: bool
    english: str  # "pick up"
    progressive: str  # "picking up"


class Location(NamedTuple):
    """A place to be: German preposition and noun, English preposition, and what is done there."""

    preposition: str
    noun: Noun
    english: str
    uses: tuple[str, ...]


class Activity(NamedTuple):
    """Who does what, with which objects, where and how; ``kind`` says what the objects are."""

    who: str
    verb: str
    kind: str
    objects: tuple[str, ...]
    uses: tuple[str, ...]
    adverbs: tuple[str, ...]
    times: tuple[str, ...]


class Motion(NamedTuple):
    """A verb and a direction: laufen, über, Brücke, across."""

    verb: str
    preposition: str
    noun: str
    english: str


class Arrangement(NamedTuple):
    """Where things stand, lie or hang, and the verb for putting them there, if there is one."""

    stands: str
    puts: str
    things: tuple[str, ...]
    prepositions: tuple[str, ...]
    bases: tuple[str, ...]


class Gift(NamedTuple):
    verb: str
    receivers: str
    things: tuple[str, ...]


class Vocabulary(NamedTuple):
    """Everything in ``data/mini_grammar``; dictionaries are keyed by the German word."""

    adjectives: dict
    adverbs: dict
    numbers: dict
    quantifiers: dict
    nouns: dict
    verbs: dict
    groups: dict  # of people and animals, by name
    locations: list
    times: dict  # by occasion: German to English
    activities: list
    animal_activities: list
    motions: list  # directions of people
    animal_motions: dict  # by group of animals
    paths: dict  # verb to nouns: die Treppe hinauf
    arrangements: list
    gifts: list
    dative_verbs: dict  # verb to receivers
    weather: dict  # by name: German and English clause
    events: dict  # German and English clause to the places where people wait for it
    lists: dict  # the word lists of single templates


# -------------------------------------------------------------------------------------------------
# The vocabulary: reading and checking the tables
# -------------------------------------------------------------------------------------------------

GENDERS = ("m", "f", "n")
NOUN_KINDS = ("person", "animal", "clothes", "thing", "vehicle", "food", "mass", "place")
NOUN_TAGS = (
    "adult", "child", "male", "female", "everyday", "in", "with", "pair", "plain", "definite",
)  # fmt: skip
OBJECT_KINDS = ("none", "one", "each", "the", "the plural", "mass", "plural", "fixed")
WEATHER = ("rain", "snow", "cold", "hot", "dark", "windy")
# The entries that the templates name.
NAMED_VERBS = (
    "ansehen anziehen ausziehen danken folgen fotografieren gehen gehen:spazieren halten helfen "
    "rennen sitzen spielen stehen suchen tanzen tragen:kleidung versuchen warten waschen zuhören "
    "zusehen zuwinken"
)
NAMED_NUMBERS = "zwei drei vier fünf"
NAMED_TIMES = "any adult child"
# What the keys and the words of each list must be; "text" is kept as it stands.
LIST_CONTENTS = {
    "moods": ("", "adjective"),
    "feelings": ("verb", "adjective"),
    "warm_clothes": ("", "noun"),
    "runs_into": ("", "noun"),
    "walks_into": ("", "noun"),
    "weather_nouns": ("", "noun"),
    "rooms": ("use", "noun"),
    "aimless_verbs": ("", "verb"),
    "hard_verbs": ("", "verb"),
    "owners": ("", "noun"),
    "owned_animals": ("", "noun"),
    "companions": ("", "noun"),
    "shared_verbs": ("verb", "use"),
    "family": ("", "noun"),
    "gifts": ("verb", "noun"),
    "helped": ("", "noun"),
    "chores": ("text", "text"),
    "own_clothes": ("", "noun"),
    "missing_clothes": ("", "noun"),
    "games": ("text", "text"),
    "centres": ("", "noun"),
    "comparatives": ("text", "text"),
}


class VocabularyError(ValueError):
    """A table of the vocabulary cannot be used; the message names file, line, entry and field."""


class Row:
    """A line of a table: its cells by column, and the errors that name where they stand."""

    def __init__(self, table, line, columns, cells):
        self.where = f"{table}, line {line}, entry {cells[0]!r}"
        if len(cells) > len(columns):
            raise VocabularyError(
                f"{self.where}: {len(cells)} cells, expected at most {len(columns)}: "
                f"{', '.join(columns)}; a tab separates two cells"
            )
        # a spreadsheet may put quotation marks around a cell with a comma
        self.cells = dict.fromkeys(columns, "")
        self.cells.update(zip(columns, (cell.strip(' "') for cell in cells)))

    def error(self, field, problem):
        return VocabularyError(f"{self.where}, field {field!r}: {problem}")

    def text(self, field, pattern=".+", expected="a word; cells are separated by tabs"):
        """The cell of a field, which the whole of ``pattern`` must match."""
        cell = self.cells[field]
        if not re.fullmatch(pattern, cell):
            raise self.error(field, f"{cell or 'nothing'!r} given, expected {expected}")
        return cell

    def one(self, field, known, source):
        """The cell of a field, one of ``known``; ``source`` says where those stand."""
        return self.known(field, [self.cells[field]], known, source)[0]

    def words(self, field, known, source, required=False):
        """The words of a cell, each one of ``known``."""
        words = self.cells[field].split()
        if required and not words:
            raise self.error(field, f"nothing given, expected words of {source}")
        return self.known(field, words, known, source)

    def known(self, field, words, known, source):
        for word in words:
            if word not in known:
                raise self.error(field, f"{word!r} given, expected one of {source}")
        return tuple(words)

    def new(self, field, key, entered):
        """``key``, which no earlier line may have entered."""
        if key in entered:
            raise self.error(field, f"{key!r} is in the table twice")
        return key


def read_table(folder, name, columns):
    """The rows of a table: tab-separated, the names of the columns first, empty lines ignored.

    A cell at the end of a line may be left out when it is empty, since editors cut such lines.
    """
    path = folder / name
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyError(f"{path} cannot be read as UTF-8 text: {error}") from error
    columns = columns.split()
    if not lines or lines[0].split() != columns:
        raise VocabularyError(
            f"{name}, line 1: {lines[:1]} given, expected the columns {', '.join(columns)}, "
            "with a tab between them"
        )
    return [
        Row(name, number, columns, line.rstrip().split("\t"))
        for number, line in enumerate(lines[1:], start=2)
        if line.strip()
    ]


def english_plural(word):
    """The regular English plural: dog, dogs; bus, buses; baby, babies."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        return word[:-1] + "ies"
    return word + "s"


def read_adjectives(folder):
    adjectives = {}
    for row in read_table(folder, "adjectives.tsv", "german english stem uses"):
        german = row.new("german", row.text("german"), adjectives)
        uses = row.words("uses", ("color", "shade", "look"), "color, shade, look")
        adjectives[german] = Adjective(row.text("english"), row.cells["stem"] or german, uses)
    return adjectives


def read_adverbs(folder):
    adverbs = {}
    for row in read_table(folder, "adverbs.tsv", "german english position"):
        german = row.new("german", row.text("german"), adverbs)
        last = row.one("position", ("", "last"), "last, or nothing") == "last"
        adverbs[german] = Adverb(row.text("english"), last)
    return adverbs


def read_determiners(folder):
    """Numbers and quantifiers: two dictionaries from German to English."""
    kinds = {"number": {}, "quantifier": {}}
    for row in read_table(folder, "determiners.tsv", "kind german english"):
        entered = kinds[row.one("kind", kinds, "number, quantifier")]
        entered[row.new("german", row.text("german"), entered)] = row.text("english")
    return kinds["number"], kinds["quantifier"]


def read_nouns(folder, adjectives):
    nouns = {}
    columns = "german gender genitive plural english english_plural kind tags adjectives"
    for row in read_table(folder, "nouns.tsv", columns):
        capital = "a word with a capital letter"
        singular = row.new("german", row.text("german", "[A-ZÄÖÜ].*", capital), nouns)
        gender = row.one("gender", GENDERS, ", ".join(GENDERS))
        genitive = row.text("genitive", "[A-ZÄÖÜ].*", capital)
        if gender == "f" and genitive != singular:
            raise row.error("genitive", f"{genitive!r} given, expected {singular!r}")
        plural = row.text("plural", "-|[A-ZÄÖÜ].*", f"{capital}, or - for a noun without a plural")
        english = row.text("english")
        kind = row.one("kind", NOUN_KINDS, ", ".join(NOUN_KINDS))
        nouns[singular] = Noun(
            gender,
            singular,
            genitive,
            plural,
            english,
            row.cells["english_plural"] or english_plural(english),
            (kind, *row.words("tags", NOUN_TAGS, ", ".join(NOUN_TAGS))),
            row.words("adjectives", adjectives, "adjectives.tsv"),
        )
    return nouns


def read_verbs(folder):
    """Verbs by their infinitive, with ``:meaning`` after it where German spells two alike."""
    verbs = {}
    columns = "german meaning singular reflexive english progressive"
    for row in read_table(folder, "verbs.tsv", columns):
        german = row.text("german", r"(\w+\|)?\w+n", "an infinitive, a particle set off with |")
        particle, _, infinitive = german.rpartition("|")
        meaning = row.cells["meaning"]
        key = particle + infinitive + (f":{meaning}" if meaning else "")
        verbs[row.new("german", key, verbs)] = Verb(
            particle,
            infinitive,
            row.text("singular", r"\w+t", "a third person in -t, without the particle"),
            row.one("reflexive", ("", "sich"), "sich, or nothing") == "sich",
            row.text("english"),
            row.text("progressive", r"\w+ing( .+)?", "a form in -ing"),
        )
    return verbs


def read_groups(folder, nouns):
    """Groups by name: four that the tags of the nouns make, and those of the table."""
    adults, children = (
        [noun for noun in nouns.values() if tag in noun.tags] for tag in ("adult", "child")
    )
    groups = {"all": adults + children, "several": adults + children}
    groups.update(adult=adults, child=children)
    for row in read_table(folder, "groups.tsv", "group members"):
        name = row.new("group", row.text("group"), groups)
        groups[name] = [nouns[word] for word in row.words("members", nouns, "nouns.tsv", True)]
    return groups


def are_animals(nouns):
    return all("animal" in noun.tags for noun in nouns)


def read_who(row, field, groups, nouns):
    """A cell that names a group, or else nouns."""
    if row.cells[field] not in groups:
        row.words(field, nouns, "groups.tsv, or words of nouns.tsv", required=True)
    return row.cells[field]


def read_locations(folder, nouns):
    locations = []
    for row in read_table(folder, "places.tsv", "preposition noun english uses"):
        preposition = row.one("preposition", PREPOSITIONS, "the prepositions the grammar knows")
        noun = nouns[row.one("noun", nouns, "nouns.tsv")]
        uses = tuple(row.text("uses").split())
        locations.append(Location(preposition, noun, row.text("english"), uses))
    return locations


def read_times(folder):
    times = {}
    for row in read_table(folder, "times.tsv", "when german english"):
        entered = times.setdefault(row.text("when"), {})
        entered[row.new("german", row.text("german"), entered)] = row.text("english")
    return times


def read_activities(folder, verbs, nouns, groups, adverbs, uses, times):
    """What people do, and what animals do: a row belongs to animals when it names nothing else."""
    of_people, of_animals = [], []
    phrase = r"[^=/,]+=[^=/,]*"
    columns = "who verb kind objects uses adverbs times"
    for row in read_table(folder, "activities.tsv", columns):
        who = read_who(row, "who", groups, nouns)
        kind = row.one("kind", OBJECT_KINDS, ", ".join(OBJECT_KINDS))
        if kind == "fixed":
            pattern = rf"{phrase}(/{phrase})?(, {phrase}(/{phrase})?)*"
            objects = row.text("objects", pattern, "German=English, with commas between")
            objects = tuple(objects.split(", "))
        else:
            allowed = () if kind == "none" else nouns
            source = "nothing, as its kind is none" if kind == "none" else "nouns.tsv"
            objects = row.words("objects", allowed, source, required=kind != "none")
        activity = Activity(
            who,
            row.one("verb", verbs, "verbs.tsv"),
            kind,
            objects,
            row.words("uses", uses, "the uses in places.tsv"),
            row.words("adverbs", adverbs, "adverbs.tsv"),
            row.words("times", times, "the occasions in times.tsv", required=True),
        )
        members = groups.get(who) or [nouns[name] for name in who.split()]
        (of_animals if are_animals(members) else of_people).append(activity)
    return of_people, of_animals


def read_motions(folder, verbs, nouns, groups):
    """Directions of people, of animals by group, and paths: the accusative of a way to children."""
    motions, animal_motions, paths = [], {}, {}
    animals = [name for name, members in groups.items() if are_animals(members)]
    for row in read_table(folder, "motions.tsv", "who verb preposition noun english"):
        verb = row.one("verb", verbs, "verbs.tsv")
        noun = row.one("noun", nouns, "nouns.tsv")
        if not row.cells["preposition"]:
            row.one("who", ("child",), "child, as there is no preposition")
            paths.setdefault(verb, []).append(noun)
            continue
        who = row.one("who", ("all", *animals), f"all, {', '.join(animals)}")
        preposition = row.one("preposition", PREPOSITIONS, "the prepositions the grammar knows")
        directions = motions if who == "all" else animal_motions.setdefault(who, [])
        directions.append(Motion(verb, preposition, noun, row.cells["english"]))
    return motions, animal_motions, paths


def read_arrangements(folder, verbs, nouns):
    arrangements = []
    columns = "stands puts things prepositions bases"
    for row in read_table(folder, "arrangements.tsv", columns):
        arrangements.append(
            Arrangement(
                row.one("stands", verbs, "verbs.tsv"),
                row.one("puts", {"", *verbs}, "verbs.tsv, or nothing"),
                row.words("things", nouns, "nouns.tsv", required=True),
                row.words("prepositions", PLACE_ENGLISH, ", ".join(PLACE_ENGLISH), required=True),
                row.words("bases", nouns, "nouns.tsv", required=True),
            )
        )
    return arrangements


def read_gifts(folder, verbs, nouns, groups):
    """Verbs of giving with what is given, and other verbs with a dative, which have nothing."""
    gifts, dative_verbs = [], {}
    for row in read_table(folder, "giving.tsv", "verb receivers things"):
        verb = row.one("verb", verbs, "verbs.tsv")
        receivers = read_who(row, "receivers", groups, nouns)
        things = row.words("things", nouns, "nouns.tsv")
        if things:
            gifts.append(Gift(verb, receivers, things))
        else:
            dative_verbs[row.new("verb", verb, dative_verbs)] = receivers
    return gifts, dative_verbs


def read_clauses(folder, locations):
    """Clauses about the weather by its name, and events that people wait for, with the places."""
    weather, events = {}, {}
    places = {f"{place.preposition} {place.noun.singular}" for place in locations}
    for row in read_table(folder, "clauses.tsv", "kind german english places"):
        kind = row.one("kind", (*WEATHER, "until"), f"{', '.join(WEATHER)}, until")
        clause = row.text("german"), row.text("english")
        if kind == "until":
            names = row.text("places", expected="places, with commas between").split(", ")
            events[clause] = row.known("places", names, places, "places.tsv, as in: an Bahnhof")
        else:
            weather[row.new("kind", kind, weather)] = clause
    return weather, events


def read_lists(folder, known):
    """Word lists: a tuple of words, or for a list with keys a dictionary of them."""
    sources = {"noun": "nouns.tsv", "verb": "verbs.tsv", "adjective": "adjectives.tsv"}
    sources["use"] = "the uses in places.tsv"
    lists = {}
    for row in read_table(folder, "lists.tsv", "list key words"):
        name = row.one("list", LIST_CONTENTS, ", ".join(LIST_CONTENTS))
        key_kind, word_kind = LIST_CONTENTS[name]
        words = row.text("words")
        if word_kind != "text":
            words = row.words("words", known[word_kind], sources[word_kind])
        if not key_kind:
            row.one("key", ("",), "nothing, as this list has no keys")
            lists[row.new("list", name, lists)] = words
            continue
        entered = lists.setdefault(name, {})
        key = row.text("key")
        if key_kind != "text":
            row.one("key", known[key_kind], sources[key_kind])
        entered[row.new("key", key, entered)] = words
    return lists


def load_vocabulary(folder):
    """Read and check every table in ``folder``.

    Args:
        folder (Path): the folder of the tables, ``data/mini_grammar`` beside this file.

    Returns:
        Vocabulary, in the order of the tables: the corpus depends on it.

    Raises:
        VocabularyError: a table is missing, or an entry in one is wrong or names an unknown word.
    """
    adjectives, adverbs = read_adjectives(folder), read_adverbs(folder)
    numbers, quantifiers = read_determiners(folder)
    nouns, verbs = read_nouns(folder, adjectives), read_verbs(folder)
    groups, locations = read_groups(folder, nouns), read_locations(folder, nouns)
    uses = {use for location in locations for use in location.uses}
    times = read_times(folder)
    activities, animal_activities = read_activities(
        folder, verbs, nouns, groups, adverbs, uses, times
    )
    motions, animal_motions, paths = read_motions(folder, verbs, nouns, groups)
    arrangements = read_arrangements(folder, verbs, nouns)
    gifts, dative_verbs = read_gifts(folder, verbs, nouns, groups)
    weather, events = read_clauses(folder, locations)
    known = {"noun": nouns, "verb": verbs, "adjective": adjectives, "use": uses}
    lists = read_lists(folder, known)
    for table, named, entered in (
        ("nouns.tsv", ("Regenschirm",), nouns),
        ("verbs.tsv", NAMED_VERBS.split(), verbs),
        ("determiners.tsv", NAMED_NUMBERS.split(), numbers),
        ("times.tsv", NAMED_TIMES.split(), times),
        ("clauses.tsv", WEATHER, weather),
        ("lists.tsv", LIST_CONTENTS, lists),
    ):
        missing = [name for name in named if name not in entered]
        if missing:
            raise VocabularyError(f"{table}: no line for {', '.join(missing)}")
    return Vocabulary(
        adjectives,
        adverbs,
        numbers,
        quantifiers,
        nouns,
        verbs,
        groups,
        locations,
        times,
        activities,
        animal_activities,
        motions,
        animal_motions,
        paths,
        arrangements,
        gifts,
        dative_verbs,
        weather,
        events,
        lists,
    )


try:
    VOCABULARY = load_vocabulary(Path(__file__).resolve().parent / "mini_grammar")
except VocabularyError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"make_mini_corpus: {error}")

ADJECTIVES, ADVERBS = VOCABULARY.adjectives, VOCABULARY.adverbs
NUMBERS, QUANTIFIERS = VOCABULARY.numbers, VOCABULARY.quantifiers
NOUNS, VERBS = VOCABULARY.nouns, VOCABULARY.verbs
GROUPS, LOCATIONS, ACTIVITIES = VOCABULARY.groups, VOCABULARY.locations, VOCABULARY.activities
LISTS = VOCABULARY.lists

# -------------------------------------------------------------------------------------------------
# German grammar
# -------------------------------------------------------------------------------------------------


class Determiner(NamedTuple):
    """What opens a noun phrase; ``kind``: der, ein (and possessives), number, quantifier, none."""

    kind: str
    german: str
    english: str


DEFINITE = Determiner("der", "der", "the")
INDEFINITE = Determiner("ein", "ein", "a")
BARE = Determiner("none", "", "")


class NounPhrase(NamedTuple):
    """Determiner, adjectives and noun; what follows the noun is already spelled out."""

    noun: Noun
    determiner: Determiner = INDEFINITE
    adjectives: tuple[str, ...] = ()
    plural: bool = False
    german_after: str = ""
    english_after: str = ""


def column(noun, plural):
    """The column of the declension tables that a noun reads: its gender, or the plural."""
    return "pl" if plural else noun.gender


def is_weak(noun):
    """Whether a noun belongs to the n-declension: der Junge, den Jungen, dem Jungen, des Jungen."""
    return noun.gender == "m" and not noun.genitive.endswith("s")


def noun_form(noun, case, plural=False):
    """The noun: dative plural in -n (den Hunden), genitive in -s (des Hundes), n-declension."""
    if plural:
        needs_n = case == "dat" and not noun.plural.endswith(("n", "s"))
        return noun.plural + "n" if needs_n else noun.plural
    if case == "gen" or (is_weak(noun) and case != "nom"):
        return noun.genitive
    return noun.singular


def adjective_form(adjective, case, noun, plural, kind):
    """An adjective with the ending that the determiner before it leaves to it."""
    table = {"der": WEAK, "ein": MIXED}.get(kind, STRONG)
    stem = ADJECTIVES[adjective].stem
    return stem + table[case][column(noun, plural)]


def determiner_form(determiner, case, noun, plural):
    """der, den, dem ...; ein, einen ...; seine; viele, vielen; numbers do not change."""
    if determiner.kind == "der":
        return DEFINITE_ARTICLE[case][column(noun, plural)]
    if determiner.kind == "ein":
        if plural and determiner == INDEFINITE:
            raise ValueError(f"'ein' has no plural: {noun.singular}")
        return determiner.german + EIN_ENDINGS[case][column(noun, plural)]
    if determiner.kind == "quantifier":
        return determiner.german + STRONG[case]["pl"]
    return determiner.german


def german_noun_phrase(phrase, case):
    """Spell a noun phrase out: ``dem kleinen Hund``."""
    noun, plural = phrase.noun, phrase.plural
    words = [determiner_form(phrase.determiner, case, noun, plural)]
    words += [
        adjective_form(word, case, noun, plural, phrase.determiner.kind)
        for word in phrase.adjectives
    ]
    words += [noun_form(noun, case, plural), phrase.german_after]
    return " ".join(word for word in words if word).replace(" ,", ",")


def german_prepositional(preposition, phrase, direction=False):
    """Preposition and noun phrase in its case, contracted: im Park, in den Park, zur Brücke."""
    if preposition in TWO_WAY:
        case = "acc" if direction else "dat"
    else:
        case = PREPOSITION_CASE[preposition]
    spelled = german_noun_phrase(phrase, case)
    article, _, rest = spelled.partition(" ")
    contracted = (
        CONTRACTIONS.get(f"{preposition} {article}") if phrase.determiner == DEFINITE else None
    )
    if contracted and not phrase.plural:
        return f"{contracted} {rest}"
    return f"{preposition} {spelled}"


def finite(verb, plural):
    """The verb form that agrees with a third-person subject, without the particle."""
    return verb.infinitive if plural else verb.singular


def zu_infinitive(verb):
    """zu lesen; a separable verb takes the zu inside: anzuhalten."""
    if verb.particle:
        return f"{verb.particle}zu{verb.infinitive}"
    return f"zu {verb.infinitive}"


class Subject(NamedTuple):
    """A subject spelled out, with what the rest of the sentence must know about it."""

    german: str
    english: str
    plural: bool
    noun: Noun  # of a coordination, the last noun


class Predicate(NamedTuple):
    """A verb and its complements, before a subject is chosen.

    German orders the middle of a clause: definite objects, place, manner, indefinite objects,
    direction; with nothing after it, manner moves before the place.
    """

    verb: Verb
    early: str = ""  # definite and dative objects
    late: str = ""  # indefinite objects and directions
    english: str = ""  # all complements
    place: str = ""  # adverbial, German
    english_place: str = ""
    adverb: str = ""  # German


def middle_field(predicate):
    """Everything between the subject and the end of a German clause."""
    if predicate.late:
        return [predicate.early, predicate.place, predicate.adverb, predicate.late]
    return [predicate.early, predicate.adverb, predicate.place]


def spell(parts):
    """Join the parts that are not empty, and tidy the commas that clauses leave behind."""
    text = " ".join(part for part in parts if part)
    return re.sub(r",+", ",", re.sub(r"\s+,", ",", text))


def main_clause(subject, predicate, front=""):
    """Verb second: the subject or ``front`` comes first, the finite verb next, a particle last."""
    verb = predicate.verb
    form, sich = finite(verb, subject.plural), "sich" if verb.reflexive else ""
    if front:
        return spell([front, form, sich, subject.german, *middle_field(predicate), verb.particle])
    return spell([subject.german, form, sich, *middle_field(predicate), verb.particle])


def verb_final(subject_german, predicate, plural):
    """Subordinate and relative clauses: the verb stands last, its particle joined (anhält)."""
    verb = predicate.verb
    sich = "sich" if verb.reflexive else ""
    return spell(
        [subject_german, sich, *middle_field(predicate), verb.particle + finite(verb, plural)]
    )


def infinitive_clause(predicate):
    """einen Ball zu fangen; sich auszuruhen."""
    sich = "sich" if predicate.verb.reflexive else ""
    return spell([sich, *middle_field(predicate), zu_infinitive(predicate.verb)])


def relative_pronoun(noun, plural, case):
    """der, den, dem, dessen ...: gender and number of the noun, case of its role in the clause."""
    return RELATIVE_PRONOUN[case][column(noun, plural)]


# -------------------------------------------------------------------------------------------------
# English grammar
# -------------------------------------------------------------------------------------------------


def indefinite_article(word):
    """a or an, by the sound of the next word: an umbrella, a uniform."""
    if word.startswith(("uni", "use", "eu", "one")):
        return "a"
    return "an" if word[0] in "aeiou" else "a"


def english_adjective(adjective, noun):
    """People are tall, everything else is big; all other adjectives have one translation."""
    if adjective == "groß" and "person" in noun.tags:
        return "tall"
    return ADJECTIVES[adjective].english


def english_noun_phrase(phrase):
    """Spell a noun phrase out in English; a noun without a singular (pants) drops the article a."""
    noun = phrase.noun
    words = [english_adjective(word, noun) for word in phrase.adjectives]
    words.append(noun.english_plural if phrase.plural else noun.english)
    determiner = phrase.determiner.english
    if determiner == "a":
        no_singular = noun.english == noun.english_plural and "clothes" in noun.tags
        determiner = "" if no_singular else indefinite_article(words[0])
    return " ".join(word for word in [determiner, *words, phrase.english_after] if word)


def be(plural):
    """is or are."""
    return "are" if plural else "is"


def english_predicate(predicate, form):
    """Verb and complements; a manner adverb precedes a verb with an object, follows others."""
    words = [form, predicate.english]
    if predicate.adverb:
        adverb = ADVERBS[predicate.adverb]
        words.insert(0 if predicate.english and not adverb.last else 2, adverb.english)
    return " ".join(word for word in [*words, predicate.english_place] if word)


def english_clause(subject, predicate):
    """A present progressive: a man is reading a book."""
    progressive = english_predicate(predicate, predicate.verb.progressive)
    return f"{subject.english} {be(subject.plural)} {progressive}"


def english_relative(noun):
    """who for people, that for animals and things."""
    return "who" if "person" in noun.tags else "that"


# -------------------------------------------------------------------------------------------------
# Both languages
# -------------------------------------------------------------------------------------------------


def with_object(name, phrase):
    """The predicate of a verb that has ``phrase`` as its object."""
    return Predicate(
        VERBS[name], late=german_noun_phrase(phrase, "acc"), english=english_noun_phrase(phrase)
    )


def clauses(subject, predicate, front=("", "")):
    """A main clause in both languages; ``front``, German and English, comes before it."""
    german, english = front
    english = f"{english}, " if english else ""
    return (
        main_clause(subject, predicate, german),
        english + english_clause(subject, predicate),
    )


def with_clause(subject, predicate, conjunction, clause, first):
    """A main and a subordinate clause, which comes ``first`` or last: weil es regnet."""
    german, english = (f"{word} {side}" for word, side in zip(conjunction, clause))
    if first:
        return clauses(subject, predicate, (f"{german},", english))
    main, english_main = clauses(subject, predicate)
    return f"{main}, {german}", f"{english_main} {english}"


# -------------------------------------------------------------------------------------------------
# Templates
# -------------------------------------------------------------------------------------------------


def label(option):
    """What a choice is counted under: a noun counts the same wherever it is chosen."""
    if isinstance(option, Noun):
        return option.singular
    return option.noun.singular if isinstance(option, Location) else option


class Writer:
    """Makes caption pairs; choices lean towards what was used least, so no word stays rare."""

    def __init__(self, seed):
        self.random = random.Random(seed).random
        self.used = Counter()

    # Chance

    def chance(self, probability):
        return self.random() < probability

    def pick(self, options):
        """Draw three options and keep the one used least so far."""
        options = list(options)
        draws = [options[int(self.random() * len(options))] for _ in range(3)]
        choice = min(draws, key=lambda option: self.used[label(option)])
        self.used[label(choice)] += 1
        return choice

    def weighted(self, weighted_options):
        """Draw from (weight, option) pairs."""
        roll = self.random() * sum(weight for weight, _ in weighted_options)
        for weight, option in weighted_options:
            roll -= weight
            if roll < 0:
                return option
        return weighted_options[-1][1]

    # Noun phrases

    def adjectives(self, noun, probability):
        """No adjective, one, or sometimes one and a color."""
        if not noun.adjectives or not self.chance(probability):
            return ()
        first = self.pick(noun.adjectives)
        colors = [word for word in noun.adjectives if "color" in ADJECTIVES[word].uses]
        colored = {"color", "shade"}.intersection(ADJECTIVES[first].uses)
        if colors and not colored and "person" not in noun.tags and self.chance(0.2):
            return (first, self.pick(colors))
        return (first,)

    def several(self, large=True):
        """A determiner for a plural."""
        roll = self.random()
        if roll < 0.25:
            return Determiner(
                "number", *self.pick([(word, NUMBERS[word]) for word in ("zwei", "drei", "vier")])
            )
        if roll < 0.5:
            numbers = list(NUMBERS)[: None if large else 4]
            return Determiner("number", *self.pick([(word, NUMBERS[word]) for word in numbers]))
        if roll < 0.7:
            return Determiner("quantifier", *self.pick(list(QUANTIFIERS.items())))
        return DEFINITE if roll < 0.8 else BARE

    def phrase(self, noun, plural=False, adjective=0.45, definite=0.2, large=True):
        """A noun phrase with everything but its noun and number drawn by chance."""
        if plural:
            determiner = self.several(large)
        else:
            determiner = DEFINITE if self.chance(definite) else INDEFINITE
        return NounPhrase(noun, determiner, self.adjectives(noun, adjective), plural)

    def group(self, who):
        """The nouns that a group name or a list of nouns stands for."""
        return GROUPS[who] if who in GROUPS else [NOUNS[name] for name in who.split()]

    def person(self, who):
        """A noun from a group; often one of the five that most captions are about."""
        nouns = self.group(who)
        everyday = [noun for noun in nouns if "everyday" in noun.tags]
        return self.pick(everyday) if everyday and self.chance(0.4) else self.pick(nouns)

    def dressed(self, phrase):
        """Add clothes to a person: in einem roten Hemd, mit einem Hut."""
        clothes, preposition = self.clothes(phrase.noun)
        garment = self.garment(clothes, phrase.plural)
        english = {"in": "in", "mit": "with"}[preposition]
        return phrase._replace(
            german_after=german_prepositional(preposition, garment),
            english_after=f"{english} {english_noun_phrase(garment)}",
        )

    def clothes(self, person):
        """A garment that this person may wear, and the preposition it goes with."""
        fitting = []
        for noun in NOUNS.values():
            if "clothes" in noun.tags:
                male, female = "male" in noun.tags, "female" in noun.tags
                if not ((male and "male" not in person.tags) or (female and person.gender == "m")):
                    fitting.append(noun)
        garment = self.pick(fitting)
        return garment, "in" if "in" in garment.tags else "mit"

    def garment(self, noun, plural):
        plural = plural or "pair" in noun.tags
        # everybody wears shoes and a shirt: only their color is worth a caption
        plain = plural or "plain" in noun.tags
        adjectives = self.adjectives(noun, 1.0 if plain else 0.7)
        return NounPhrase(noun, BARE if plural else INDEFINITE, adjectives, plural)

    def wearing(self, person, plural):
        """trägt einen Hut / is wearing a hat."""
        return with_object("tragen:kleidung", self.garment(self.clothes(person)[0], plural))

    @staticmethod
    def subject(phrase):
        return Subject(
            german_noun_phrase(phrase, "nom"),
            english_noun_phrase(phrase),
            phrase.plural,
            phrase.noun,
        )

    def people(self, who, plural=None, clothes=0.25, large=True):
        """A subject drawn from a group."""
        plural = (who == "several" or self.chance(0.25)) if plural is None else plural
        phrase = self.phrase(self.person(who), plural, large=large)
        return self.subject(self.dressed(phrase) if self.chance(clothes) else phrase)

    def couple(self, who):
        """Two subjects joined by und."""
        first = self.phrase(self.person(who), definite=0.15)
        second = self.phrase(self.person(who), definite=0.15)
        while second.noun.english == first.noun.english:
            second = self.phrase(self.person(who), definite=0.15)
        second = second._replace(determiner=first.determiner)
        one, two = self.subject(first), self.subject(second)
        return Subject(
            f"{one.german} und {two.german}", f"{one.english} and {two.english}", True, second.noun
        )

    # Predicates

    def place(self, uses, plural=False):
        """Where it happens, or nothing if the activity has no place of its own."""
        fitting = [location for location in LOCATIONS if any(use in location.uses for use in uses)]
        if plural:
            fitting = [location for location in fitting if location.noun.singular != "Stuhl"]
        if not fitting:
            return "", ""
        return self.at(self.pick(fitting))

    def at(self, location):
        noun = location.noun
        fixed = "definite" in noun.tags or not noun.adjectives
        if fixed or self.chance(0.6):
            phrase = NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.2))
        else:
            phrase = NounPhrase(noun, INDEFINITE, self.adjectives(noun, 1.0))
        return (
            german_prepositional(location.preposition, phrase),
            f"{location.english} {english_noun_phrase(phrase)}",
        )

    def objects(self, kind, names, plural):
        """The object of an activity in both languages, and whether German puts it early."""
        name = self.pick(names)
        if kind == "fixed":
            single, _, several = name.partition("/")
            german, english = (several if plural and several else single).split("=")
            return german, english, False
        noun = NOUNS[name]
        if kind == "one" and "person" not in noun.tags and self.chance(0.12):
            number = self.pick(["zwei", "drei"])
            determiner = Determiner("number", number, NUMBERS[number])
            phrase = NounPhrase(noun, determiner, self.adjectives(noun, 0.4), True)
        elif kind == "mass":
            phrase = NounPhrase(noun, BARE, self.adjectives(noun, 0.5))
        elif (
            kind == "plural"
            or (kind == "each" and plural)
            or ("pair" in noun.tags and kind == "the")
        ):
            phrase = NounPhrase(
                noun, DEFINITE if kind == "the" else BARE, self.adjectives(noun, 0.5), True
            )
        elif kind == "the plural":
            phrase = NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.4), True)
        elif kind == "the":
            phrase = NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.3))
        else:
            phrase = NounPhrase(noun, INDEFINITE, self.adjectives(noun, 0.5))
        return (
            german_noun_phrase(phrase, "acc"),
            english_noun_phrase(phrase),
            phrase.determiner == DEFINITE,
        )

    def predicate(self, activity, plural=False, place=0.5, adverb=0.15):
        """What an activity says of its subject, with a place or a manner or both."""
        verb = VERBS[activity.verb]
        early = late = english = ""
        if activity.kind != "none":
            german, english, definite = self.objects(activity.kind, activity.objects, plural)
            early, late = (german, "") if definite else ("", german)
        german_place, english_place = self.place(activity.uses) if self.chance(place) else ("", "")
        adverbs = [word for word in activity.adverbs if plural or word != "zusammen"]
        if plural:
            adverbs = [word for word in adverbs if word != "allein"]
        if german_place:
            adverbs = [word for word in adverbs if not ADVERBS[word].last]
        manner = self.pick(adverbs) if adverbs and self.chance(adverb) else ""
        return Predicate(verb, early, late, english, german_place, english_place, manner)

    def motion(self, motions=VOCABULARY.motions):
        """Verb and direction: läuft über die Brücke."""
        name, preposition, noun, english = self.pick(motions)
        noun = NOUNS[noun]
        fixed = "definite" in noun.tags or preposition == "zu"
        determiner = DEFINITE if fixed or self.chance(0.6) else INDEFINITE
        phrase = NounPhrase(
            noun, determiner, self.adjectives(noun, 0.3 if determiner == DEFINITE else 0.5)
        )
        # entlang and aus belong to their verb: am Fluss entlang, aus dem Bus aus
        direction = not name.startswith("entlang")
        late = german_prepositional(preposition, phrase, direction)
        return Predicate(
            VERBS[name], late=late, english=f"{english} {english_noun_phrase(phrase)}".strip()
        )

    @staticmethod
    def motions(*names):
        """The directions of some verbs, in the order of the verbs."""
        ways = VOCABULARY.motions
        return [motion for name in names for motion in ways if motion.verb == name]

    def path(self):
        """die Treppe hinauf."""
        name = self.pick(VOCABULARY.paths)
        noun = NOUNS[self.pick(VOCABULARY.paths[name])]
        return with_object(name, NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.5)))

    def giving(self, giver):
        """gibt dem Hund einen Knochen / is giving the dog a bone."""
        name, receivers, things = self.pick(VOCABULARY.gifts)
        group = [noun for noun in self.group(receivers) if noun.english != giver.english]
        receiver = self.pick(group)
        several = name in ("vorlesen", "zeigen") and self.chance(0.3)
        receiver = self.phrase(receiver, several, adjective=0.35, definite=0.5, large=False)
        thing = NOUNS[self.pick(things)]
        thing = NounPhrase(thing, INDEFINITE, self.adjectives(thing, 0.4))
        return Predicate(
            VERBS[name],
            german_noun_phrase(receiver, "dat"),
            german_noun_phrase(thing, "acc"),
            f"{english_noun_phrase(receiver)} {english_noun_phrase(thing)}",
        )

    def dative(self, helper):
        """hilft einer alten Frau / is helping an old woman."""
        name = self.pick(VOCABULARY.dative_verbs)
        group = self.group(VOCABULARY.dative_verbs[name])
        group = [noun for noun in group if noun.english != helper.english]
        helped = self.phrase(self.pick(group), self.chance(0.2), adjective=0.6, large=False)
        return Predicate(
            VERBS[name], german_noun_phrase(helped, "dat"), "", english_noun_phrase(helped)
        )

    def putting(self):
        """stellt die Tasse auf den Tisch."""
        _, name, things, prepositions, bases = self.pick(
            [row for row in VOCABULARY.arrangements if row.puts]
        )
        thing = self.thing(things)
        preposition, base = self.base(prepositions, bases)
        english = "into" if preposition == "in" else PLACE_ENGLISH[preposition]
        early = german_noun_phrase(thing, "acc")
        return Predicate(
            VERBS[name],
            early,
            german_prepositional(preposition, base, direction=True),
            f"{english_noun_phrase(thing)} {english} {english_noun_phrase(base)}",
        )

    def thing(self, names, plural=False):
        noun = NOUNS[self.pick(names)]
        if plural:
            number = self.pick(["zwei", "drei", "vier", "fünf"])
            return NounPhrase(
                noun,
                Determiner("number", number, NUMBERS[number]),
                self.adjectives(noun, 0.5),
                True,
            )
        return NounPhrase(noun, INDEFINITE, self.adjectives(noun, 0.6))

    def base(self, prepositions, bases):
        noun = NOUNS[self.pick(bases)]
        definite = "definite" in noun.tags or self.chance(0.75)
        determiner = DEFINITE if definite else INDEFINITE
        phrase = NounPhrase(noun, determiner, self.adjectives(noun, 0.25))
        return self.pick(prepositions), phrase

    def activity(self, condition=lambda row: True):
        """A row of the table, the likelier the more objects it has."""
        rows = [row for row in ACTIVITIES if condition(row)]
        return self.weighted([(max(3, len(row.objects)), row) for row in rows])

    def action(self, place=0.5):
        """A subject and what it does, matched."""
        roll = self.random()
        if roll < 0.64:
            row = self.activity()
            dry = "water" not in row.uses and row.verb not in ("anziehen", "ausziehen")
            plural = row.who == "several" or self.chance(0.25)
            large = row.kind in ("none", "fixed")
            subject = self.people(row.who, plural, 0.25 if dry else 0, large)
            return subject, self.predicate(row, plural, place)
        subject = self.people("all", large=False)
        if roll < 0.84:
            return subject, self.motion()
        if roll < 0.89:
            return self.people("child"), self.path()
        if roll < 0.95:
            return subject, self.giving(subject.noun)
        return subject, self.dative(subject.noun)

    # Sentences: every template returns a German and an English sentence without its full stop.

    def plain(self):
        """Ein kleiner Junge in einem roten Hemd springt über den Zaun."""
        subject, predicate = self.action()
        return clauses(subject, predicate)

    def fronted_place(self):
        """Auf der Straße spielt ein Mann Gitarre."""
        row = self.activity(lambda row: row.uses)
        plural = row.who == "several" or self.chance(0.3)
        dry = "water" not in row.uses
        subject = self.people(row.who, plural, 0.2 if dry else 0, row.kind in ("none", "fixed"))
        predicate = self.predicate(row, plural, place=0)
        return clauses(subject, predicate, self.place(row.uses))

    def fronted_time(self):
        """Am Morgen liest eine Frau die Zeitung. Am Abend geht ein Mann zum Bahnhof."""
        if self.chance(0.2):
            time = self.pick(["any", "adult", "child"])
            who = "child" if time == "child" else "adult"
            subject = self.people(who, clothes=0.1, large=False)
            front = self.pick(list(VOCABULARY.times[time].items()))
            return clauses(subject, self.motion(), front)
        row = self.activity()
        if self.chance(0.2):
            row = self.activity(lambda row: "summer" in row.times or "winter" in row.times)
        time = row.times[int(self.random() * len(row.times))]
        who = time if row.who == "all" and time in ("adult", "child") else row.who
        plural = row.who == "several" or self.chance(0.3)
        front = self.pick(list(VOCABULARY.times[time].items()))
        if row.who == "several":
            who = "adult"
        subject = self.people(who, plural, 0, row.kind in ("none", "fixed"))
        predicate = self.predicate(row, plural, place=0.25)
        return clauses(subject, predicate, front)

    def couples(self):
        """Ein Mann und eine Frau tanzen im Park."""
        row = self.activity(lambda row: len(self.group(row.who)) > 3)
        subject = self.couple(row.who)
        predicate = self.predicate(row, True)
        return clauses(subject, predicate)

    def with_relative(self, phrase, predicate):
        """Add a relative clause whose subject is the noun."""
        noun, plural = phrase.noun, phrase.plural
        german = verb_final(relative_pronoun(noun, plural, "nom"), predicate, plural)
        english = english_predicate(predicate, predicate.verb.progressive)
        return phrase._replace(
            german_after=f", {german},",
            english_after=f"{english_relative(noun)} {be(plural)} {english}",
        )

    def relative_clothes(self):
        """Ein Mann, der einen roten Hut trägt, spielt Gitarre."""
        row = self.activity(
            lambda row: "water" not in row.uses and row.verb not in ("anziehen", "ausziehen")
        )
        plural = row.who == "several" or self.chance(0.25)
        phrase = self.phrase(self.person(row.who), plural, large=False)
        subject = self.subject(self.with_relative(phrase, self.wearing(phrase.noun, plural)))
        predicate = self.predicate(row, plural, place=0.4, adverb=0.05)
        return clauses(subject, predicate)

    def relative_action(self):
        """Die Frau, die den Ball aufhebt, trägt einen Hut; ... sitzt auf der Bank; ... ist müde."""
        moods = ("lachen", "lächeln", "weinen", "anziehen", "ausziehen")
        row = self.activity(lambda row: "water" not in row.uses and row.verb not in moods)
        plural = row.who == "several" or self.chance(0.25)
        phrase = self.phrase(self.person(row.who), plural, 0, definite=0.5, large=False)
        action = self.predicate(row, plural, place=0, adverb=0.1)
        subject = self.subject(self.with_relative(phrase, action))
        roll = self.random()
        if roll < 0.35 and "seat" in row.uses:
            german, english = self.place(("sit",), plural)
            predicate = Predicate(VERBS["sitzen"], place=german, english_place=english)
        elif roll < 0.75:
            predicate = self.wearing(phrase.noun, plural)
        else:
            word = self.pick(LISTS["moods"])
            german = f"{subject.german} {'sind' if plural else 'ist'} {word}"
            return spell([german]), f"{subject.english} {be(plural)} {ADJECTIVES[word].english}"
        return clauses(subject, predicate)

    def relative_object(self):
        """Der Ball, den ein Junge wirft, ist rot. Die Frau, der ein Kind hilft, ist müde."""
        rows = [
            row
            for row in ACTIVITIES
            if row.kind == "one" and row.verb not in ("suchen", "verstecken", "graben")
        ]
        row = self.pick(rows)
        noun = NOUNS[self.pick(row.objects)]
        while not noun.adjectives:
            noun = NOUNS[self.pick(row.objects)]
        agent = self.people(row.who, self.chance(0.25), 0.15, large=False)
        clause = verb_final(
            spell([relative_pronoun(noun, False, "acc"), agent.german]),
            Predicate(VERBS[row.verb]),
            agent.plural,
        )
        relative = "whom" if "person" in noun.tags else "that"
        english_clause_text = (
            f"{relative} {agent.english} {be(agent.plural)} {VERBS[row.verb].progressive}"
        )
        phrase = NounPhrase(noun, DEFINITE, (), False, f", {clause},", english_clause_text)
        word = self.pick([word for word in noun.adjectives if word not in ("jung", "hölzern")])
        subject = self.subject(phrase)
        return (
            f"{subject.german} ist {word}",
            f"{subject.english} is {english_adjective(word, noun)}",
        )

    def relative_dative(self):
        """Der Mann, dem eine Frau hilft, sitzt auf einer Bank."""
        verb = VERBS[self.pick(["helfen", "zuhören", "zusehen", "zuwinken", "danken", "folgen"])]
        plural = self.chance(0.25)
        noun = self.person("all")
        agent = self.people("all", self.chance(0.3), 0, large=False)
        while agent.noun.english == noun.english:
            agent = self.people("all", self.chance(0.3), 0, large=False)
        clause = verb_final(
            spell([relative_pronoun(noun, plural, "dat"), agent.german]),
            Predicate(verb),
            agent.plural,
        )
        english = f"whom {agent.english} {be(agent.plural)} {verb.progressive}"
        phrase = NounPhrase(
            noun, DEFINITE, self.adjectives(noun, 0.4), plural, f", {clause},", english
        )
        subject = self.subject(phrase)
        predicate = self.wearing(noun, plural)
        return clauses(subject, predicate)

    def relative_place(self):
        """Die Bank, auf der ein alter Mann sitzt, ist grün."""
        location = self.pick(
            [
                place
                for place in LOCATIONS
                if ("sit" in place.uses or place.preposition in ("vor", "neben", "hinter"))
                and place.noun.adjectives
            ]
        )
        name = "sitzen" if "sit" in location.uses else self.pick(["warten", "stehen"])
        several = location.noun.singular != "Stuhl" and self.chance(0.25)
        agent = self.people("all", several, 0.1, large=False)
        noun = location.noun
        pronoun = f"{location.preposition} {relative_pronoun(noun, False, 'dat')}"
        clause = verb_final(spell([pronoun, agent.german]), Predicate(VERBS[name]), agent.plural)
        english = (
            f"{location.english} which {agent.english} {be(agent.plural)} {VERBS[name].progressive}"
        )
        plural = noun.english == noun.english_plural == "stairs"
        subject = self.subject(NounPhrase(noun, DEFINITE, (), False, f", {clause},", english))
        word = self.pick([word for word in noun.adjectives if word != "hölzern"])
        return (
            f"{subject.german} ist {word}",
            f"{subject.english} {be(plural)} {ADJECTIVES[word].english}",
        )

    def relative_genitive(self):
        """Der Mann, dessen Mantel rot ist, wartet am Bahnhof."""
        noun = self.person("all")
        garment = self.clothes(noun)[0]
        several = "pair" in garment.tags
        visible = {"color", "look"}
        word = self.pick(
            [word for word in garment.adjectives if visible.intersection(ADJECTIVES[word].uses)]
        )
        german = (
            f"{relative_pronoun(noun, False, 'gen')} {noun_form(garment, 'nom', several)} {word}"
        )
        german += " sind" if several else " ist"
        many = several or garment.english == garment.english_plural
        worn = garment.english_plural if several else garment.english
        english = f"whose {worn} {be(many)} {ADJECTIVES[word].english}"
        phrase = self.phrase(noun, definite=0.5)._replace(
            german_after=f", {german},", english_after=english
        )
        subject = self.subject(phrase)
        everyone = [row for row in ACTIVITIES if row.who == "all" and "water" not in row.uses]
        predicate = self.predicate(self.pick(everyone), place=0.5, adverb=0)
        return clauses(subject, predicate)

    def seated(self):
        """Auf der Bank sitzt ein alter Mann und liest ein Buch."""
        row = self.activity(
            lambda row: "seat" in row.uses and row.verb not in ("schlafen", "warten", "lächeln")
        )
        plural = row.who == "several" or self.chance(0.25)
        subject = self.people(row.who, plural, 0.15, large=False)
        german, english = self.place(("sit",), plural)
        here = [word for word in row.adverbs if not ADVERBS[word].last]
        row = row._replace(adverbs=tuple(here))
        action = self.predicate(row, plural, place=0, adverb=0.1)
        second = spell(
            [
                finite(action.verb, plural),
                "sich" if action.verb.reflexive else "",
                *middle_field(action),
                action.verb.particle,
            ]
        )
        english_second = english_predicate(action, action.verb.progressive)
        sitting = Predicate(VERBS["sitzen"])
        if self.chance(0.4):
            first = main_clause(subject, sitting, german)
            return (
                f"{first} und {second}",
                f"{english}, {english_clause(subject, sitting)} and {english_second}",
            )
        sitting = sitting._replace(place=german, english_place=english)
        return (
            f"{main_clause(subject, sitting)} und {second}",
            f"{english_clause(subject, sitting)} and {english_second}",
        )

    def meanwhile(self):
        """Ein Mann kocht Reis, während eine Frau Brot schneidet; or the other way round."""

        def shared(row, other):
            """Whether two activities differ and can go on in the same place."""
            quiet = ("schlafen", "warten", row.verb)
            return other.verb not in quiet and any(use in row.uses for use in other.uses)

        row = self.activity(
            lambda row: row.who != "several" and any(shared(row, other) for other in ACTIVITIES)
        )
        other = self.activity(lambda other: shared(row, other))
        first = self.people(row.who, self.chance(0.2), 0, large=False)
        second = self.people(other.who, other.who == "several" or self.chance(0.2), 0, large=False)
        while second.noun.english == first.noun.english:
            second = self.people(
                other.who, other.who == "several" or self.chance(0.2), 0, large=False
            )
        one = self.predicate(row, first.plural, place=0.15, adverb=0)
        two = self.predicate(other, second.plural, place=0, adverb=0)
        roll = self.random()
        if roll < 0.2:
            german = f"{main_clause(first, one)} und {main_clause(second, two)}"
            return german, f"{english_clause(first, one)} and {english_clause(second, two)}"
        clause = verb_final(second.german, two, second.plural), english_clause(second, two)
        return with_clause(first, one, ("während", "while"), clause, first=roll >= 0.65)

    def pronoun(self, subject):
        """er/he, sie/she, sie/they; animals are it."""
        if subject.plural:
            return "sie", "they"
        german = {"m": "er", "f": "sie", "n": "es"}[subject.noun.gender]
        if "person" not in subject.noun.tags:
            return german, "it"
        return german, {"m": "he", "f": "she"}[subject.noun.gender]

    def gendered(self, who, clothes=0.15):
        """A subject that English has a pronoun for: no neuter."""
        subject = self.people(who, clothes=clothes, large=False)
        while subject.noun.gender == "n" and not subject.plural:
            subject = self.people(who, clothes=clothes, large=False)
        return subject

    def because(self):
        """Die Frau ruht sich aus, weil sie müde ist. Weil es regnet, hält ein Mann einen Schirm."""
        roll = self.random()
        feeling = None
        if roll < 0.5:
            verb, feelings = self.pick(list(LISTS["feelings"].items()))
            feeling = self.pick(feelings)
            row = self.activity(lambda row: row.verb == verb and row.objects != ("Kaffee", "Bier"))
            subject = self.gendered(row.who)
            predicate = self.predicate(row, subject.plural, place=0.4, adverb=0)
            german, english = self.pronoun(subject)
            clause = (
                f"{german} {feeling} {'sind' if subject.plural else 'ist'}",
                f"{english} {be(subject.plural)} {ADJECTIVES[feeling].english}",
            )
        elif roll < 0.7:
            garment = NOUNS[self.pick(LISTS["warm_clothes"])]
            subject = self.people("all", clothes=0, large=False)
            predicate = with_object("tragen:kleidung", self.garment(garment, subject.plural))
            clause = self.weather("cold", "snow", "windy")
        elif roll < 0.85:
            subject = self.people("all", large=False)
            if self.chance(0.5):
                phrase = self.phrase(NOUNS["Regenschirm"], subject.plural, definite=0)
                phrase = phrase._replace(determiner=BARE if subject.plural else INDEFINITE)
                predicate = with_object("halten", phrase)
                clause = VOCABULARY.weather["rain"]
            else:
                shelters = [Motion("rennen", "in", name, "into") for name in LISTS["runs_into"]]
                predicate = self.motion(shelters)
                clause = self.weather("rain", "snow", "cold", "windy")
        else:
            row = self.activity(
                lambda row: (
                    row.verb in ("schwimmen", "tauchen") or row.objects[-1:] == ("Limonade",)
                )
            )
            subject = self.people(
                row.who if row.verb == "trinken" else "all", clothes=0, large=False
            )
            predicate = self.predicate(row, subject.plural, place=0.4, adverb=0)
            if row.verb == "verkaufen":
                return self.because()
            clause = VOCABULARY.weather["hot"]
        first = feeling is None and self.chance(0.4)
        return with_clause(subject, predicate, ("weil", "because"), clause, first)

    def weather(self, *names):
        """A clause about one of these kinds of weather, German and English."""
        return self.pick([VOCABULARY.weather[name] for name in names])

    def outdoors(self):
        """An activity that weather can disturb."""
        uses = ("park", "street", "sport", "garden", "farm", "way")
        left_out = ("schlafen", "essen", "trinken", "gießen")
        return self.activity(
            lambda row: any(use in row.uses for use in uses) and row.verb not in left_out
        )

    def although(self):
        """Die Kinder spielen Fußball, obwohl es regnet."""
        row = self.outdoors()
        plural = row.who == "several" or self.chance(0.3)
        subject = self.people(row.who, plural, 0.1, row.kind in ("none", "fixed"))
        outside = [
            use for use in row.uses if use in ("park", "street", "sport", "garden", "farm", "way")
        ]
        predicate = self.predicate(row._replace(uses=tuple(outside)), plural, place=0.5, adverb=0)
        flowers = row.verb in ("pflücken", "pflanzen")
        wet = () if flowers else ("rain", "snow")
        clause = self.weather(*wet, "cold", "dark", "windy")
        first = self.chance(0.3)
        return with_clause(subject, predicate, ("obwohl", "although"), clause, first)

    def in_weather(self):
        """Wegen des Regens ..., trotz der Kälte ..."""
        row = self.outdoors()
        plural = row.who == "several" or self.chance(0.3)
        subject = self.people(row.who, plural, 0.1, row.kind in ("none", "fixed"))
        predicate = self.predicate(row, plural, place=0, adverb=0)
        preposition, english = "trotz", "in spite of"
        if self.chance(0.4):
            preposition, english = "wegen", "because of"
            subject = self.people("all", clothes=0, large=False)
            shelters = [Motion("gehen", "in", name, "into") for name in LISTS["walks_into"]]
            predicate = self.motion(shelters)
        noun = NOUNS[self.pick(LISTS["weather_nouns"])]
        phrase = NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.3))
        german = german_prepositional(preposition, phrase)
        english = f"{english} {english_noun_phrase(phrase)}"
        if self.chance(0.5):
            return clauses(subject, predicate, (german, english))
        predicate = predicate._replace(place=german)
        return main_clause(subject, predicate), f"{english_clause(subject, predicate)} {english}"

    def until(self):
        """Eine Frau wartet am Bahnhof, bis der Zug kommt."""
        subject = self.people("all")
        event = self.pick(list(VOCABULARY.events))
        place = self.pick(VOCABULARY.events[event])
        location = next(
            one for one in LOCATIONS if f"{one.preposition} {one.noun.singular}" == place
        )
        german, english = self.at(location) if self.chance(0.6) else ("", "")
        predicate = Predicate(VERBS["warten"], place=german, english_place=english)
        return with_clause(subject, predicate, ("bis", "until"), event, first=False)

    def purpose(self):
        """Ein Mann geht in die Küche, um einen Kuchen zu backen."""
        rooms, aimless = LISTS["rooms"], LISTS["aimless_verbs"]
        row = self.activity(
            lambda row: any(use in rooms for use in row.uses) and row.verb not in aimless
        )
        use = self.pick([use for use in row.uses if use in rooms])
        noun = NOUNS[self.pick(rooms[use])]
        plural = self.chance(0.25)
        subject = self.people(row.who, plural, 0.15, large=False)
        going = Predicate(
            VERBS["gehen"],
            late=german_prepositional("in", NounPhrase(noun, DEFINITE), direction=True),
            english=f"into {english_noun_phrase(NounPhrase(noun, DEFINITE))}",
        )
        action = self.predicate(row, plural, place=0, adverb=0)
        return (
            f"{main_clause(subject, going)}, um {infinitive_clause(action)}",
            f"{english_clause(subject, going)} to {english_predicate(action, action.verb.english)}",
        )

    def attempt(self):
        """Ein Junge versucht, den Ball zu fangen."""
        if self.chance(0.25):
            subject = self.people("child", large=False)
            action = self.motion(self.motions("klettern", "springen", "kriechen"))
        else:
            row = self.activity(lambda row: row.verb in LISTS["hard_verbs"])
            subject = self.people(row.who, clothes=0 if "water" in row.uses else 0.15, large=False)
            action = self.predicate(row, subject.plural, place=0, adverb=0)
        trying = Predicate(VERBS["versuchen"])
        return (
            f"{main_clause(subject, trying)}, {infinitive_clause(action)}",
            f"{english_clause(subject, trying)} to "
            f"{english_predicate(action, action.verb.english)}",
        )

    def arrangement(self):
        """Auf dem Tisch steht eine Vase / There is a vase standing on the table."""
        name, _, things, prepositions, bases = self.pick(VOCABULARY.arrangements)
        plural = self.chance(0.3)
        thing = self.subject(self.thing(things, plural))
        preposition, base = self.base(prepositions, bases)
        if (
            preposition in ("neben", "unter", "hinter", "vor")
            and self.chance(0.15)
            and base.noun.plural != "Rathäuser"
        ):
            preposition = "zwischen"
            number = Determiner("number", "zwei", "two") if self.chance(0.5) else DEFINITE
            base = base._replace(determiner=number, plural=True)
            if base.noun.english == thing.noun.english:
                return self.arrangement()
        german = german_prepositional(preposition, base)
        english = f"{PLACE_ENGLISH[preposition]} {english_noun_phrase(base)}"
        many = plural or thing.noun.english == thing.noun.english_plural
        predicate = Predicate(VERBS[name])
        if self.chance(0.5):
            return (
                main_clause(thing, predicate, german),
                f"there {be(many)} {thing.english} {predicate.verb.progressive} {english}",
            )
        predicate = predicate._replace(place=german)
        return (
            main_clause(thing, predicate),
            f"{thing.english} {be(many)} {predicate.verb.progressive} {english}",
        )

    def put(self):
        """Eine Frau stellt eine Vase auf den Tisch."""
        subject, predicate = self.people("all", large=False), self.putting()
        return clauses(subject, predicate)

    def dative_sentence(self):
        """Ein Mädchen gibt dem Pferd einen Apfel. Ein Junge hört der Sängerin zu."""
        subject = self.people("all", large=False)
        predicate = self.giving(subject.noun) if self.chance(0.6) else self.dative(subject.noun)
        return clauses(subject, predicate)

    def animal(self):
        """An animal and what it does, matched."""
        plural = self.chance(0.3)
        if self.chance(0.35):
            who = self.pick(VOCABULARY.animal_motions)
            predicate = self.motion(VOCABULARY.animal_motions[who])
        else:
            row = self.pick(VOCABULARY.animal_activities)
            who = row.who
            still = row.verb in ("sitzen", "stehen", "liegen")
            predicate = self.predicate(row, plural, place=1 if still else 0.5)
        phrase = self.phrase(self.pick(self.group(who)), plural, adjective=0.6)
        return self.subject(phrase), predicate

    def animals(self):
        """Ein brauner Hund läuft über die Wiese. Auf dem Bauernhof schläft eine Katze."""
        subject, predicate = self.animal()
        posture = predicate.verb.infinitive in ("sitzen", "stehen", "liegen")
        if predicate.place and not posture and self.chance(0.35):
            bare = predicate._replace(place="", english_place="")
            return clauses(subject, bare, (predicate.place, predicate.english_place))
        return clauses(subject, predicate)

    def animal_relative(self):
        """Der Hund, der einen Ball fängt, ist nass. Ein Junge sieht einen Hund an, der schläft."""
        subject, predicate = self.animal()
        noun = subject.noun
        if self.chance(0.5):
            phrase = NounPhrase(noun, DEFINITE, (), subject.plural)
            subject = self.subject(self.with_relative(phrase, predicate))
            word = self.pick(noun.adjectives)
            verb = "sind" if subject.plural else "ist"
            return (
                f"{subject.german} {verb} {word}",
                f"{subject.english} {be(subject.plural)} {ADJECTIVES[word].english}",
            )
        phrase = self.phrase(noun, subject.plural, adjective=0.4, definite=0.2, large=False)
        phrase = self.with_relative(phrase, predicate)
        verb = VERBS[self.pick(["ansehen", "fotografieren", "zusehen"])]
        case = "dat" if verb.particle == "zu" else "acc"
        watcher = self.people("all", clothes=0.1, large=False)
        # a particle stands before the relative clause: sieht einen Hund an, der schläft
        bare = phrase._replace(german_after="", english_after="")
        looking = Predicate(verb, german_noun_phrase(bare, case), "", english_noun_phrase(phrase))
        german = f"{main_clause(watcher, looking)}{phrase.german_after}".rstrip(",").replace(
            " ,", ","
        )
        return german, english_clause(watcher, looking)

    def possessor(self):
        """Der Hund des alten Mannes schläft / The old man's dog is sleeping."""
        owner = NOUNS[self.pick(LISTS["owners"])]
        owner = NounPhrase(owner, DEFINITE, self.adjectives(owner, 0.6))
        german_owner = german_noun_phrase(owner, "gen")
        english_owner = english_noun_phrase(owner) + "'s"
        if self.chance(0.5):
            names = LISTS["owned_animals"]
            rows = VOCABULARY.animal_activities
            row = self.pick([row for row in rows if any(name in row.who.split() for name in names)])
            noun = NOUNS[self.pick([name for name in names if name in row.who.split()])]
            predicate = self.predicate(
                row, place=1.0 if row.verb in ("sitzen", "stehen", "liegen") else 0.5
            )
        else:
            rows = [row for row in VOCABULARY.arrangements if row.stands != "hängen"]
            name, _, things, prepositions, bases = self.pick(rows)
            noun = NOUNS[self.pick(things)]
            preposition, base = self.base(prepositions, bases)
            predicate = Predicate(
                VERBS[name],
                place=german_prepositional(preposition, base),
                english_place=f"{PLACE_ENGLISH[preposition]} {english_noun_phrase(base)}",
            )
        adjectives = self.adjectives(noun, 0.25)
        german = german_noun_phrase(
            NounPhrase(noun, DEFINITE, adjectives, False, german_owner), "nom"
        )
        english = f"{english_owner} {english_noun_phrase(NounPhrase(noun, BARE, adjectives))}"
        plural_in_english = noun.english == noun.english_plural and "clothes" in noun.tags
        subject = Subject(german, english, False, noun)
        progressive = english_predicate(predicate, predicate.verb.progressive)
        text = f"{english} {be(plural_in_english)} {progressive}"
        return main_clause(subject, predicate), text

    def possession(self):
        """Ein Mann spielt mit seinem Hund. Eine Frau kauft ein Geschenk für ihren Bruder."""
        subject = self.gendered("all")
        if subject.plural:
            german, english = "ihr", "their"
        else:
            german, english = {"m": ("sein", "his"), "f": ("ihr", "her")}[subject.noun.gender]
        possessive = Determiner("ein", german, english)
        roll = self.random()
        if roll < 0.4:
            noun = NOUNS[self.pick(LISTS["companions"])]
            phrase = NounPhrase(noun, possessive, self.adjectives(noun, 0.3))
            with_german = german_prepositional("mit", phrase)
            verb, uses = self.pick(list(LISTS["shared_verbs"].items()))
            walk = ("spazieren", "a walk") if verb == "gehen:spazieren" else ("", "")
            german_place, english_place = self.place(uses) if self.chance(0.6) else ("", "")
            if verb == "schwimmen":
                subject = self.gendered_like(subject)
            with_english = f"with {english_noun_phrase(phrase)}"
            predicate = Predicate(
                VERBS[verb],
                with_german,
                walk[0],
                f"{walk[1]} {with_english}".strip(),
                german_place,
                english_place,
            )
        elif roll < 0.7:
            phrase = NounPhrase(NOUNS[self.pick(LISTS["family"])], possessive, ())
            verb, things = self.pick(list(LISTS["gifts"].items()))
            thing = NOUNS[self.pick(things)]
            thing = NounPhrase(thing, INDEFINITE, self.adjectives(thing, 0.5))
            predicate = Predicate(
                VERBS[verb],
                late=f"{german_noun_phrase(thing, 'acc')} {german_prepositional('für', phrase)}",
                english=f"{english_noun_phrase(thing)} for {english_noun_phrase(phrase)}",
            )
        elif roll < 0.85:
            phrase = NounPhrase(NOUNS[self.pick(LISTS["helped"])], possessive, ())
            task, english_task = self.pick(list(LISTS["chores"].items()))
            predicate = Predicate(
                VERBS["helfen"],
                german_noun_phrase(phrase, "dat"),
                f"beim {task}",
                f"{english_noun_phrase(phrase)} with the {english_task}",
            )
        else:
            name = self.pick(["anziehen", "ausziehen", "suchen", "waschen"])
            noun = NOUNS[self.pick(LISTS["own_clothes"])]
            plural = subject.plural or "pair" in noun.tags
            phrase = NounPhrase(noun, possessive, self.adjectives(noun, 0.5), plural)
            predicate = Predicate(
                VERBS[name], german_noun_phrase(phrase, "acc"), "", english_noun_phrase(phrase)
            )
        return clauses(subject, predicate)

    def gendered_like(self, subject):
        """The same kind of subject, but without clothes on."""
        fresh = self.gendered("all", clothes=0)
        while (fresh.plural, fresh.noun.gender if not fresh.plural else "") != (
            subject.plural,
            subject.noun.gender if not subject.plural else "",
        ):
            fresh = self.gendered("all", clothes=0)
        return fresh

    def without(self):
        """Ein Mann ohne Hut ...; Schach gegen einen alten Mann; um ein Feuer."""
        roll = self.random()
        if roll < 0.4:
            garment = NOUNS[self.pick(LISTS["missing_clothes"])]
            pair = "pair" in garment.tags
            single = pair or garment.english == garment.english_plural
            phrase = self.phrase(self.person("all"))
            english = (
                garment.english_plural
                if single
                else f"{indefinite_article(garment.english)} {garment.english}"
            )
            phrase = phrase._replace(
                german_after=f"ohne {noun_form(garment, 'acc', pair)}",
                english_after=f"without {english}",
            )
            if self.chance(0.5):
                predicate = self.motion(self.motions("gehen", "laufen", "rennen", "klettern"))
            else:
                row = self.activity(
                    lambda row: row.who == "all" and row.uses and "water" not in row.uses
                )
                predicate = self.predicate(row)
            subject = self.subject(phrase)
        elif roll < 0.7:
            game, english_game = self.pick(list(LISTS["games"].items()))
            subject = self.people("all", plural=False, large=False)
            rival = self.phrase(self.person("all"), definite=0.3)
            while rival.noun.english == subject.noun.english:
                rival = self.phrase(self.person("all"), definite=0.3)
            predicate = Predicate(
                VERBS["spielen"],
                late=f"{game} {german_prepositional('gegen', rival)}",
                english=f"{english_game} against {english_noun_phrase(rival)}",
            )
        else:
            subject = self.people("all", plural=True)
            noun = NOUNS[self.pick(LISTS["centres"])]
            around = NounPhrase(noun, self.pick([DEFINITE, INDEFINITE]), self.adjectives(noun, 0.4))
            name = self.pick(["sitzen", "stehen", "tanzen", "rennen"])
            predicate = Predicate(
                VERBS[name],
                late=german_prepositional("um", around),
                english=f"around {english_noun_phrase(around)}",
            )
        return clauses(subject, predicate)

    def comparison(self):
        """Der Junge in einem roten Hemd ist größer als das Mädchen."""
        word, english_word = self.pick(list(LISTS["comparatives"].items()))
        who = self.pick(["adult", "child"])
        noun, other = self.person(who), self.person(who)
        while noun.english == other.english:
            other = self.person(who)
        first = NounPhrase(noun, DEFINITE)
        subject = self.subject(self.dressed(first) if self.chance(0.7) else first)
        second = NounPhrase(other, DEFINITE)
        second = self.subject(self.dressed(second) if self.chance(0.4) else second)
        return (
            f"{subject.german} ist {word} als {second.german}",
            f"{subject.english} is {english_word} than {second.english}",
        )

    def sentence(self):
        """One caption pair from a template, capitalized and with its full stop."""
        template = self.weighted(TEMPLATES)
        return tuple(side[0].upper() + side[1:] + "." for side in template(self))


TEMPLATES = [
    (22, Writer.plain),
    (9, Writer.fronted_place),
    (8, Writer.fronted_time),
    (4, Writer.couples),
    (6, Writer.relative_clothes),
    (4, Writer.relative_action),
    (3, Writer.relative_object),
    (2, Writer.relative_dative),
    (3, Writer.relative_place),
    (2, Writer.relative_genitive),
    (4, Writer.seated),
    (6, Writer.meanwhile),
    (4, Writer.because),
    (3, Writer.although),
    (3, Writer.in_weather),
    (3, Writer.until),
    (5, Writer.purpose),
    (3, Writer.attempt),
    (6, Writer.arrangement),
    (4, Writer.put),
    (7, Writer.dative_sentence),
    (8, Writer.animals),
    (3, Writer.animal_relative),
    (4, Writer.possessor),
    (5, Writer.possession),
    (3, Writer.without),
    (2, Writer.comparison),
]

# -------------------------------------------------------------------------------------------------
# Splits and files
# -------------------------------------------------------------------------------------------------


def words(sentence):
    """The lower-cased words of a sentence, without punctuation."""
    return re.findall(r"[^\W\d_]+", sentence.lower())


def tokens(pair):
    """The words of a pair, each with the side it stands on."""
    return [(side, word) for side, sentence in enumerate(pair) for word in words(sentence)]


def unique_pairs(number):
    """``number`` caption pairs in which no sentence of either language occurs twice."""
    writer = Writer(SEED)
    pairs, seen = [], set()
    while len(pairs) < number:
        german, english = writer.sentence()
        too_long = max(len(german.split()), len(english.split())) > MAX_WORDS
        if too_long or german in seen or english in seen:
            continue
        seen.update((german, english))
        pairs.append((german, english))
    return pairs


def without_rare_words(pairs):
    """Leave out the pairs with a word seen fewer than RARE times, until none is left."""
    while True:
        counts = Counter(token for pair in pairs for token in tokens(pair))
        kept = [pair for pair in pairs if all(counts[token] >= RARE for token in tokens(pair))]
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def make_corpus():
    """The three splits, each a list of (German, English) pairs.

    A sentence is held out only if training keeps every one of its words at least RARE times.
    """
    total = sum(SPLIT_SIZES.values())
    pairs = without_rare_words(unique_pairs(total * 5 // 4))[:total]
    if len(pairs) < total:
        raise ValueError(f"{len(pairs)} pairs are left without rare words, expected {total}")
    counts = Counter(token for pair in pairs for token in tokens(pair))
    wanted = SPLIT_SIZES["val"] + SPLIT_SIZES["test"]
    held_out, train = [], []
    for pair in reversed(pairs):
        needed = Counter(tokens(pair))
        if len(held_out) < wanted and all(
            counts[token] - needed[token] >= RARE for token in needed
        ):
            counts.subtract(needed)
            held_out.append(pair)
        else:
            train.append(pair)
    train.reverse()
    return {"train": train, "val": held_out[0::2], "test": held_out[1::2]}


def make_files():
    """The corpus as files: a dictionary from file name to bytes."""
    files = {}
    for split, pairs in make_corpus().items():
        for side, language in enumerate(("de", "en")):
            files[f"{split}.{language}"] = "".join(pair[side] + "\n" for pair in pairs).encode(
                "utf-8"
            )
    return files


def write_files(folder):
    """Write every file beside its place and rename it, so that no reader ever sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in make_files().items():
        partial = folder / (name + ".partial")
        partial.write_bytes(content)
        os.replace(partial, folder / name)


def differing_files(folder):
    """The files in ``folder`` that are missing or are not what the generator writes."""
    return [
        name
        for name, content in make_files().items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != content
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Write the embedded German-English caption corpus."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent / "mini",
        help="folder of the corpus",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare instead of writing; exit 1 on a difference"
    )
    options = parser.parse_args(arguments)
    if options.check:
        different = differing_files(options.out)
        if different:
            print(
                f"{options.out} differs from the generator: {', '.join(different)}", file=sys.stderr
            )
            return 1
        print(f"{options.out} is what the generator writes")
        return 0
    write_files(options.out)
    sizes = ", ".join(f"{split} {size}" for split, size in SPLIT_SIZES.items())
    print(f"wrote {sizes} pairs to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
