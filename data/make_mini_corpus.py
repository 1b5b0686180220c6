"""Write the embedded corpus ``data/mini``: German image captions and their English translations.

The corpus is what a learner trains on when Multi30k cannot be downloaded. A small grammar writes
it: the lexicon comes first, then German grammar, English grammar, what goes with what, the
templates that put sentences together, and last the splits and the files. Every sentence is built
once as a structure and spelled out twice, so the two sides always agree in meaning, and the English
is a function of the German: no construction has two translations in the same context.

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
# Lexicon: adjectives and adverbs
# -------------------------------------------------------------------------------------------------

ADJECTIVES = dict(
    entry.split()
    for entry in """
    alt old, jung young, klein small, groß big, neu new, schön beautiful, lang long, kurz short,
    hoch high, rot red, blau blue, grün green, gelb yellow, schwarz black, weiß white, grau gray,
    braun brown, bunt colorful, dunkel dark, hell bright, golden golden, silbern silver, violett
    purple, gestreift striped, gefleckt spotted, kariert checkered, warm warm, kalt cold, heiß hot,
    frisch fresh, süß sweet, nass wet, schmutzig dirty, sauber clean, schwer heavy, leicht light,
    leer empty, rund round, dick thick, kaputt broken, modern modern, teuer expensive, ruhig quiet,
    belebt busy, breit wide, schmal narrow, steil steep, tief deep, gemütlich cozy, blond blond,
    fröhlich cheerful, müde tired, freundlich friendly, elegant elegant, stark strong, neugierig
    curious, glücklich happy, nervös nervous, lustig funny, ernst serious, schlank slim, mutig
    brave, hungrig hungry, durstig thirsty, faul lazy, bekannt famous, sonnig sunny, windig windy,
    hölzern wooden, traurig sad
    """.replace("\n", " ").split(",")
)
# "groß" is the one adjective whose English depends on its noun: people are tall, the rest is big.
TALL = "tall"

# The form endings are attached to, where it is not the dictionary form.
ADJECTIVE_STEMS = {"hoch": "hoh", "dunkel": "dunkl", "teuer": "teur", "müde": "müd"}

ADVERBS = dict(
    entry.split()
    for entry in """
    langsam slowly, schnell quickly, vorsichtig carefully, fröhlich cheerfully, leise quietly, laut
    loudly, geduldig patiently, stolz proudly, allein alone, zusammen together, draußen outside
    """.replace("\n", " ").split(",")
)
LATE_ADVERBS = ("allein", "zusammen", "draußen")  # English puts these after the object

NUMBERS = dict(
    entry.split()
    for entry in """
    zwei two, drei three, vier four, fünf five, sechs six, sieben seven, acht eight, neun nine, zehn
    ten, elf eleven, zwölf twelve
    """.replace("\n", " ").split(",")
)
# Stems: viele, mehrere, einige.
QUANTIFIERS = {"viel": "many", "mehrer": "several", "einig": "some"}

# -------------------------------------------------------------------------------------------------
# Lexicon: nouns
# -------------------------------------------------------------------------------------------------


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


def english_plural(word):
    """The regular English plural: dog, dogs; bus, buses; baby, babies."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


NOUNS = {}


def nouns(tags, adjectives, table):
    """Enter ``table`` into the lexicon, a noun a line, and return its nouns.

    A line is ``gender singular genitive plural = english``, with ``/plural`` after an irregular
    English plural and ``; adjectives`` where the noun does not take those of its table.
    """
    entered = []
    for line in table.strip().splitlines():
        german, rest = line.split("=")
        rest, semicolon, own_adjectives = rest.partition(";")
        english, _, plural = rest.strip().partition("/")
        gender, singular, genitive, german_plural = german.split()
        noun = Noun(
            gender,
            singular,
            genitive,
            german_plural,
            english,
            plural or english_plural(english),
            tuple(tags.split()),
            tuple((own_adjectives if semicolon else adjectives).split()),
        )
        if singular in NOUNS:
            raise ValueError(f"{singular!r} is in the lexicon twice")
        unknown = [word for word in noun.adjectives if word not in ADJECTIVES]
        if unknown:
            raise ValueError(f"{singular!r} takes adjectives that the lexicon lacks: {unknown}")
        NOUNS[singular] = noun
        entered.append(noun)
    return entered


ADULT_ADJECTIVES = (
    "jung alt groß blond fröhlich müde freundlich elegant stark neugierig glücklich nervös lustig "
    "ernst schlank mutig"
)
MEN = nouns(
    "person adult male",
    ADULT_ADJECTIVES,
    """
    m Mann Mannes Männer = man/men
    m Lehrer Lehrers Lehrer = teacher
    m Arzt Arztes Ärzte = doctor
    m Koch Kochs Köche = cook
    m Bäcker Bäckers Bäcker = baker
    m Bauer Bauern Bauern = farmer
    m Polizist Polizisten Polizisten = policeman/policemen
    m Feuerwehrmann Feuerwehrmanns Feuerwehrmänner = firefighter
    m Soldat Soldaten Soldaten = soldier
    m Musiker Musikers Musiker = musician
    m Maler Malers Maler = painter
    m Fotograf Fotografen Fotografen = photographer
    m Tourist Touristen Touristen = tourist
    m Kellner Kellners Kellner = waiter
    m Gärtner Gärtners Gärtner = gardener
    m Arbeiter Arbeiters Arbeiter = worker
    m Tischler Tischlers Tischler = carpenter
    m Mechaniker Mechanikers Mechaniker = mechanic
    m Radfahrer Radfahrers Radfahrer = cyclist
    m Wanderer Wanderers Wanderer = hiker
    m Athlet Athleten Athleten = athlete
    m Großvater Großvaters Großväter = grandfather ; fröhlich müde freundlich elegant lustig
    m Vater Vaters Väter = father
    m Nachbar Nachbarn Nachbarn = neighbor
    m Briefträger Briefträgers Briefträger = mailman/mailmen
    m Reporter Reporters Reporter = reporter
    m Clown Clowns Clowns = clown ; jung alt groß fröhlich müde freundlich lustig
    m Zauberer Zauberers Zauberer = magician
    m Student Studenten Studenten = student ; jung groß blond müde neugierig nervös ernst
    m Pilot Piloten Piloten = pilot
    m Fischer Fischers Fischer = fisherman/fishermen
    m Kunde Kunden Kunden = customer
""",
)
WOMEN = nouns(
    "person adult female",
    ADULT_ADJECTIVES,
    """
    f Frau Frau Frauen = woman/women
    f Lehrerin Lehrerin Lehrerinnen = teacher
    f Ärztin Ärztin Ärztinnen = doctor
    f Köchin Köchin Köchinnen = cook
    f Polizistin Polizistin Polizistinnen = policewoman/policewomen
    f Sängerin Sängerin Sängerinnen = singer
    f Tänzerin Tänzerin Tänzerinnen = dancer
    f Künstlerin Künstlerin Künstlerinnen = artist
    f Kellnerin Kellnerin Kellnerinnen = waitress
    f Studentin Studentin Studentinnen = student ; jung groß blond müde neugierig nervös ernst
    f Mutter Mutter Mütter = mother
    f Großmutter Großmutter Großmütter = grandmother ; fröhlich müde freundlich elegant lustig
    f Dame Dame Damen = lady
    f Krankenschwester Krankenschwester Krankenschwestern = nurse
    f Verkäuferin Verkäuferin Verkäuferinnen = saleswoman/saleswomen
    f Nachbarin Nachbarin Nachbarinnen = neighbor
""",
)
CHILDREN = nouns(
    "person child",
    "klein blond fröhlich müde neugierig glücklich lustig mutig hungrig nervös",
    """
    m Junge Jungen Jungen = boy
    n Mädchen Mädchens Mädchen = girl
    n Kind Kindes Kinder = child/children
    m Schüler Schülers Schüler = pupil
    f Schülerin Schülerin Schülerinnen = pupil
""",
)
nouns(
    "person",
    "klein müde hungrig",
    """
    n Baby Babys Babys = baby
    m Bruder Bruders Brüder = brother
    f Schwester Schwester Schwestern = sister
    m Freund Freundes Freunde = friend
""",
)
EVERYBODY = ("Mann", "Frau", "Junge", "Mädchen", "Kind")  # the people most captions are about

nouns(
    "animal",
    "klein groß braun schwarz weiß jung alt hungrig müde nass gefleckt neugierig faul",
    """
    m Hund Hundes Hunde = dog
    f Katze Katze Katzen = cat
    m Welpe Welpen Welpen = puppy ; klein braun schwarz weiß hungrig müde nass gefleckt neugierig
    n Kaninchen Kaninchens Kaninchen = rabbit
    n Pferd Pferdes Pferde = horse
    f Kuh Kuh Kühe = cow
    f Ziege Ziege Ziegen = goat
    m Esel Esels Esel = donkey ; klein groß braun grau jung alt hungrig müde faul
    n Schaf Schafes Schafe = sheep/sheep ; klein groß schwarz weiß jung alt hungrig müde nass
    n Schwein Schweins Schweine = pig ; klein groß schwarz schmutzig jung alt hungrig müde faul
    m Elefant Elefanten Elefanten = elephant ; klein groß grau jung alt hungrig müde
    m Löwe Löwen Löwen = lion ; groß jung alt hungrig müde faul
    m Affe Affen Affen = monkey ; klein groß braun jung alt hungrig müde neugierig
    m Bär Bären Bären = bear ; klein groß braun schwarz jung alt hungrig müde
    m Vogel Vogels Vögel = bird ; klein groß schwarz weiß blau gelb bunt
    f Ente Ente Enten = duck ; klein groß braun weiß jung hungrig
    f Gans Gans Gänse = goose/geese ; klein groß grau weiß jung hungrig
    f Möwe Möwe Möwen = seagull ; klein groß weiß grau hungrig
    f Maus Maus Mäuse = mouse/mice ; klein grau braun weiß
""",
)

COLORS = "rot blau grün gelb schwarz weiß grau braun bunt violett"
nouns(
    "clothes in",
    COLORS + " gestreift kariert neu alt",
    """
    n Hemd Hemdes Hemden = shirt
    f Jacke Jacke Jacken = jacket
    m Mantel Mantels Mäntel = coat ; rot blau grün schwarz grau braun lang warm dick schwer neu alt
    m Pullover Pullovers Pullover = sweater
    f Hose Hose Hosen = pants/pants ; blau grün schwarz weiß grau braun kurz lang gestreift
    f Uniform Uniform Uniformen = uniform ; blau grün schwarz weiß grau neu alt
    f Weste Weste Westen = vest
    f Schürze Schürze Schürzen = apron
    n Kostüm Kostüms Kostüme = costume ; rot grün gelb schwarz weiß bunt lustig golden silbern
""",
)
nouns(
    "clothes in female",
    COLORS + " gestreift kariert elegant lang kurz",
    """
    n Kleid Kleides Kleider = dress
    m Rock Rockes Röcke = skirt
    f Bluse Bluse Blusen = blouse ; rot blau grün gelb schwarz weiß gestreift elegant
""",
)
nouns(
    "clothes in male",
    "blau schwarz weiß grau braun dunkel elegant teuer",
    """
    m Anzug Anzugs Anzüge = suit
""",
)
nouns(
    "clothes with",
    COLORS + " groß neu alt",
    """
    m Hut Hutes Hüte = hat
    f Mütze Mütze Mützen = cap
    m Helm Helms Helme = helmet ; rot blau grün gelb schwarz weiß silbern golden
    m Schal Schals Schals = scarf/scarves ; rot blau grün gelb weiß bunt warm lang dick gestreift
    f Brille Brille Brillen = glasses/glasses ; schwarz rot dunkel rund groß golden
    f Sonnenbrille Sonnenbrille Sonnenbrillen = sunglasses/sunglasses ; schwarz rot dunkel rund groß
    m Rucksack Rucksacks Rucksäcke = backpack ; rot blau grün schwarz groß klein schwer leicht
    m Gürtel Gürtels Gürtel = belt ; schwarz braun weiß breit schmal silbern
""",
)
nouns(
    "clothes with male",
    "rot blau grün schwarz gestreift elegant bunt",
    """
    f Krawatte Krawatte Krawatten = tie
""",
)
nouns(
    "clothes with pair",
    "schwarz braun rot warm dick neu alt schmutzig",
    """
    m Handschuh Handschuhs Handschuhe = glove
    m Stiefel Stiefels Stiefel = boot
    m Schuh Schuhs Schuhe = shoe ; schwarz braun rot weiß neu alt schmutzig
""",
)

nouns(
    "thing",
    "neu alt groß klein",
    """
    n Buch Buches Bücher = book ; neu alt dick rot blau schwer
    f Zeitung Zeitung Zeitungen = newspaper ; alt
    m Brief Briefes Briefe = letter ; lang kurz alt
    m Comic Comics Comics = comic ; lustig neu alt
    f Landkarte Landkarte Landkarten = map ; alt groß bunt
    n Gedicht Gedichts Gedichte = poem ; lang kurz schön lustig
    f Geschichte Geschichte Geschichten = story/stories ; lang kurz schön lustig
    f Postkarte Postkarte Postkarten = postcard ; schön bunt alt
    n Bild Bildes Bilder = picture ; groß klein schön bunt alt
    n Foto Fotos Fotos = photo ; alt schön klein
    n Plakat Plakats Plakate = poster ; groß bunt neu alt
    m Spiegel Spiegels Spiegel = mirror ; groß rund alt golden
    f Uhr Uhr Uhren = clock ; alt groß rund golden kaputt
    n Schild Schildes Schilder = sign ; groß gelb weiß rot
    f Fahne Fahne Fahnen = flag ; rot blau grün gelb weiß groß bunt
    m Luftballon Luftballons Luftballons = balloon ; rot blau grün gelb bunt groß
    m Regenschirm Regenschirms Regenschirme = umbrella ; rot blau schwarz bunt groß alt kaputt
    f Kamera Kamera Kameras = camera ; neu alt teuer klein schwarz
    n Mikrofon Mikrofons Mikrofone = microphone ; schwarz silbern neu
    f Kerze Kerze Kerzen = candle ; rot weiß groß klein
    f Tasse Tasse Tassen = cup ; blau weiß bunt leer groß
    f Flasche Flasche Flaschen = bottle ; grün leer kalt groß
    n Glas Glases Gläser = glass ; leer sauber groß
    m Teller Tellers Teller = plate ; weiß rund schmutzig leer
    m Topf Topfes Töpfe = pot ; heiß schwer groß alt
    f Vase Vase Vasen = vase ; blau weiß teuer schön
    f Lampe Lampe Lampen = lamp ; hell klein alt
    m Schlüssel Schlüssels Schlüssel = key ; golden silbern klein alt
    f Münze Münze Münzen = coin ; golden silbern alt
    f Kiste Kiste Kisten = crate ; schwer leicht hölzern groß leer
    m Karton Kartons Kartons = box ; schwer leicht groß leer braun
    m Korb Korbes Körbe = basket ; groß klein leer rund schwer
    m Koffer Koffers Koffer = suitcase ; schwer leicht rot braun schwarz groß
    f Tasche Tasche Taschen = bag ; schwer rot braun schwarz grün leer
    f Leiter Leiter Leitern = ladder ; lang hölzern schwer
    m Eimer Eimers Eimer = bucket ; schwer leer rot blau
    n Tablett Tabletts Tabletts = tray ; groß rund schwer silbern
    m Ball Balles Bälle = ball ; rot blau gelb klein bunt
    m Stein Steines Steine = stone ; klein groß schwer rund
    m Stock Stockes Stöcke = stick ; lang kurz dick
    m Schneeball Schneeballs Schneebälle = snowball ; groß klein
    n Geschenk Geschenks Geschenke = present ; groß klein bunt teuer
    f Puppe Puppe Puppen = doll ; klein alt schön
    n Seil Seiles Seile = rope ; lang dick kurz
    f Decke Decke Decken = blanket ; warm weiß gestreift kariert
    m Computer Computers Computer = computer ; neu alt teuer modern
    n Radio Radios Radios = radio ; neu alt klein
    m Fernseher Fernsehers Fernseher = television ; neu alt groß
    n Loch Loches Löcher = hole ; tief groß klein
    m Knochen Knochens Knochen = bone ; groß klein lang
    f Blume Blume Blumen = flower ; rot gelb blau weiß schön frisch
    f Rose Rose Rosen = rose ; rot gelb weiß schön
    f Pflanze Pflanze Pflanzen = plant ; grün klein groß
    f Fahrkarte Fahrkarte Fahrkarten = ticket ; teuer neu
    f Sandburg Sandburg Sandburgen = sandcastle ; groß klein schön
    m Schneemann Schneemanns Schneemänner = snowman/snowmen ; groß klein lustig weiß
    f Hütte Hütte Hütten = cabin ; klein hölzern gemütlich
""",
)
nouns(
    "vehicle",
    "rot blau grün gelb schwarz weiß neu alt",
    """
    n Fahrrad Fahrrads Fahrräder = bicycle
    n Auto Autos Autos = car
    n Motorrad Motorrads Motorräder = motorcycle
    m Lastwagen Lastwagens Lastwagen = truck
    m Traktor Traktors Traktoren = tractor
    m Bus Busses Busse = bus
    m Zug Zuges Züge = train
    n Boot Bootes Boote = boat
    m Roller Rollers Roller = scooter
    m Kinderwagen Kinderwagens Kinderwagen = stroller
    m Rollstuhl Rollstuhls Rollstühle = wheelchair ; neu alt leer
    f Schubkarre Schubkarre Schubkarren = wheelbarrow ; alt schwer leer rot
    m Schlitten Schlittens Schlitten = sled ; hölzern alt rot
    m Wagen Wagens Wagen = cart ; schwer alt hölzern leer
""",
)
nouns(
    "food",
    "frisch groß klein",
    """
    m Apfel Apfels Äpfel = apple ; rot grün frisch süß groß
    f Banane Banane Bananen = banana ; gelb süß
    f Birne Birne Birnen = pear ; gelb süß frisch
    f Orange Orange Orangen = orange ; süß frisch groß
    f Karotte Karotte Karotten = carrot ; frisch lang groß
    f Tomate Tomate Tomaten = tomato/tomatoes ; rot frisch groß
    f Pizza Pizza Pizzas = pizza ; heiß groß frisch
    m Kuchen Kuchens Kuchen = cake ; süß groß frisch rund
    n Brötchen Brötchens Brötchen = roll ; frisch warm
    m Keks Kekses Kekse = cookie ; süß rund groß
    f Brezel Brezel Brezeln = pretzel ; frisch warm groß
    f Wurst Wurst Würste = sausage ; warm lang
    m Salat Salats Salate = salad ; frisch groß grün
    f Suppe Suppe Suppen = soup ; heiß warm
    m Fisch Fisches Fische = fish/fish ; groß klein
""",
)
nouns(
    "mass",
    "frisch",
    """
    m Kaffee Kaffees - = coffee ; heiß kalt schwarz stark
    m Tee Tees - = tea ; heiß kalt grün schwarz
    n Wasser Wassers - = water ; kalt frisch warm
    f Milch Milch - = milk ; kalt warm frisch
    m Saft Saftes - = juice ; kalt frisch süß
    f Limonade Limonade - = lemonade ; kalt süß
    n Bier Biers - = beer ; kalt dunkel
    n Brot Brotes - = bread ; frisch dunkel warm
    m Käse Käses - = cheese ; frisch gelb
    n Fleisch Fleisches - = meat ; frisch
    m Reis Reises - = rice ; weiß
    n Obst Obstes - = fruit ; frisch süß
    n Holz Holzes - = wood ; schwer nass
    n Heu Heus - = hay ; frisch
    n Gras Grases - = grass ; frisch grün hoch nass
    m Schnee Schnees - = snow ; tief frisch
    m Sand Sandes - = sand ; heiß warm
    m Regen Regens - = rain ; warm kalt
    f Sonne Sonne - = sun ; warm
    f Hitze Hitze - = heat ;
    f Kälte Kälte - = cold ;
    m Wind Windes - = wind ; stark kalt
    m Nebel Nebels - = fog ; dick kalt
    m Lärm Lärms - = noise ;
""",
)
nouns(
    "place",
    "groß klein alt schön",
    """
    m Park Parks Parks = park ; groß klein schön ruhig
    m Garten Gartens Gärten = garden ; groß klein schön ruhig
    f Wiese Wiese Wiesen = meadow ; grün groß schön
    m Spielplatz Spielplatzes Spielplätze = playground ; groß klein neu
    m Strand Strandes Strände = beach ; schön lang ruhig
    m See Sees Seen = lake ; groß klein tief blau
    m Fluss Flusses Flüsse = river ; breit schmal tief
    n Meer Meeres Meere = sea ; blau kalt
    m Bach Baches Bäche = stream ; klein schmal kalt
    n Becken Beckens Becken = pool ; groß tief blau
    m Wald Waldes Wälder = forest ; dunkel groß ruhig
    m Baum Baumes Bäume = tree ; groß alt klein
    m Ast Astes Äste = branch ; lang dick
    m Berg Berges Berge = mountain ; hoch steil
    m Hügel Hügels Hügel = hill ; steil grün klein
    m Felsen Felsens Felsen = rock ; hoch groß steil
    n Feld Feldes Felder = field ; groß grün
    f Straße Straße Straßen = street ; belebt ruhig breit schmal nass
    m Gehweg Gehwegs Gehwege = sidewalk ; breit schmal nass
    m Platz Platzes Plätze = square ; belebt groß schön
    f Brücke Brücke Brücken = bridge ; alt lang hoch hölzern
    f Kirche Kirche Kirchen = church ; alt klein schön
    n Rathaus Rathauses Rathäuser = town hall ; alt modern
    n Geschäft Geschäfts Geschäfte = store ; klein neu modern
    n Museum Museums Museen = museum ; bekannt modern groß
    n Haus Hauses Häuser = house ; alt weiß klein groß modern
    m Turm Turmes Türme = tower ; hoch alt bekannt
    f Statue Statue Statuen = statue ; bekannt alt golden
    m Brunnen Brunnens Brunnen = fountain ; alt schön
    f Bushaltestelle Bushaltestelle Bushaltestellen = bus stop ;
    m Bahnhof Bahnhofs Bahnhöfe = train station ; alt modern
    m Markt Marktes Märkte = market ; belebt klein
    f Ecke Ecke Ecken = corner ; ruhig belebt
    f Bank Bank Bänke = bench/benches ; hölzern grün alt lang
    m Hof Hofes Höfe = yard ; klein ruhig
    m Balkon Balkons Balkone = balcony ; klein sonnig
    f Mauer Mauer Mauern = wall ; hoch alt
    m Zaun Zaunes Zäune = fence ; hoch hölzern weiß
    n Tor Tores Tore = gate ; hoch alt breit
    f Pfütze Pfütze Pfützen = puddle ; groß tief
    m Tunnel Tunnels Tunnel = tunnel ; lang dunkel
    f Stadt Stadt Städte = city/cities ; groß belebt
    f Küche Küche Küchen = kitchen ; klein modern sauber
    n Wohnzimmer Wohnzimmers Wohnzimmer = living room ; groß gemütlich
    n Zimmer Zimmers Zimmer = room ; klein hell dunkel gemütlich
    n Restaurant Restaurants Restaurants = restaurant ; bekannt teuer klein
    n Café Cafés Cafés = café ; gemütlich klein belebt
    f Bibliothek Bibliothek Bibliotheken = library/libraries ; groß ruhig modern
    n Klassenzimmer Klassenzimmers Klassenzimmer = classroom ; hell groß
    n Büro Büros Büros = office ; modern klein hell
    f Werkstatt Werkstatt Werkstätten = workshop ; klein alt
    f Garage Garage Garagen = garage ; dunkel sauber
    n Zelt Zeltes Zelte = tent ; klein grün
    n Fenster Fensters Fenster = window ; groß schmutzig
    f Tür Tür Türen = door ; schwer grün alt
    m Tisch Tisches Tische = table ; rund lang hölzern
    m Stuhl Stuhls Stühle = chair ; hölzern alt
    n Sofa Sofas Sofas = couch ; rot gemütlich alt
    m Teppich Teppichs Teppiche = carpet ; bunt dick rund
    n Bett Bettes Betten = bed ; groß gemütlich
    m Schrank Schranks Schränke = cupboard ; groß alt
    f Treppe Treppe Treppen = stairs/stairs ; steil lang
    n Dach Daches Dächer = roof/roofs ; rot steil
    f Bühne Bühne Bühnen = stage ; groß klein hell
    n Stadion Stadions Stadien = stadium ; groß modern
    f Turnhalle Turnhalle Turnhallen = gym ; groß neu
    m Bauernhof Bauernhofs Bauernhöfe = farm ; alt klein
    n Feuer Feuers Feuer = fire ; hell groß warm
    f Rutsche Rutsche Rutschen = slide ; lang steil
    f Wand Wand Wände = wall ; weiß
    f Ampel Ampel Ampeln = traffic light ;
""",
)
MASS_PLACES = (
    "Wasser",
    "Gras",
    "Schnee",
    "Sand",
    "Regen",
    "Sonne",
    "Meer",
    "Wand",
    "Rathaus",
    "Stadt",
    "Treppe",
)
ANIMALS = [noun for noun in NOUNS.values() if "animal" in noun.tags]
PEOPLE = MEN + WOMEN + CHILDREN

# -------------------------------------------------------------------------------------------------
# Lexicon: verbs
# -------------------------------------------------------------------------------------------------


class Verb(NamedTuple):
    """A verb in both languages; only third persons occur, and the plural is the infinitive."""

    particle: str  # "an" in anhalten, empty for a verb that does not separate
    infinitive: str  # without the particle
    singular: str  # third person singular, with its change of stem
    reflexive: bool
    english: str  # "pick up"
    progressive: str  # "picking up"


def verbs(table):
    """A verb a line: ``[sich] [particle|]infinitive[:meaning] singular = base/progressive [rest]``.

    ``:meaning`` tells apart verbs that German spells alike and English does not.
    """
    entered = {}
    for line in table.strip().splitlines():
        german, english = (half.strip() for half in line.split("="))
        *reflexive, name, singular = german.split()
        particle, _, infinitive = name.split(":")[0].rpartition("|")
        forms, _, rest = english.partition(" ")
        base, progressive = forms.split("/")
        rest = " " + rest if rest else ""
        entered[name.replace("|", "")] = Verb(
            particle, infinitive, singular, bool(reflexive), base + rest, progressive + rest
        )
    return entered


VERBS = verbs("""
    singen singt = sing/singing
    tanzen tanzt = dance/dancing
    lachen lacht = laugh/laughing
    lächeln lächelt = smile/smiling
    weinen weint = cry/crying
    schlafen schläft = sleep/sleeping
    warten wartet = wait/waiting
    arbeiten arbeitet = work/working
    joggen joggt = jog/jogging
    klatschen klatscht = clap/clapping
    jonglieren jongliert = juggle/juggling
    schreien schreit = scream/screaming
    schwimmen schwimmt = swim/swimming
    tauchen taucht = dive/diving
    sich aus|ruhen ruht = rest/resting
    sich unterhalten unterhält = talk/talking
    sich um|sehen sieht = look/looking around
    spielen spielt = play/playing
    lesen liest = read/reading
    schreiben schreibt = write/writing
    malen malt = paint/painting
    zeichnen zeichnet = draw/drawing
    essen isst = eat/eating
    fressen frisst = eat/eating
    trinken trinkt = drink/drinking
    kochen kocht = cook/cooking
    backen backt = bake/baking
    schneiden schneidet = cut/cutting
    kaufen kauft = buy/buying
    verkaufen verkauft = sell/selling
    tragen:last trägt = carry/carrying
    tragen:kleidung trägt = wear/wearing
    schieben schiebt = push/pushing
    ziehen zieht = pull/pulling
    werfen wirft = throw/throwing
    fangen fängt = catch/catching
    halten hält = hold/holding
    reparieren repariert = repair/repairing
    putzen putzt = clean/cleaning
    waschen wäscht = wash/washing
    fotografieren fotografiert = photograph/photographing
    betrachten betrachtet = admire/admiring
    suchen sucht = look/looking for
    verstecken versteckt = hide/hiding
    hacken hackt = chop/chopping
    füttern füttert = feed/feeding
    streicheln streichelt = pet/petting
    umarmen umarmt = hug/hugging
    jagen jagt = chase/chasing
    pflanzen pflanzt = plant/planting
    gießen gießt = water/watering
    pflücken pflückt = pick/picking
    bauen baut = build/building
    graben gräbt = dig/digging
    bellen bellt = bark/barking
    fliegen fliegt = fly/flying
    gehen geht = walk/walking
    gehen:spazieren geht = take/taking
    laufen läuft = run/running
    laufen:eis läuft = skate/skating
    rennen rennt = run/running
    springen springt = jump/jumping
    klettern klettert = climb/climbing
    kriechen kriecht = crawl/crawling
    fahren:rad fährt = ride/riding
    fahren:auto fährt = drive/driving
    fahren:ski fährt = ski/skiing
    reiten reitet = ride/riding
    sitzen sitzt = sit/sitting
    stehen steht = stand/standing
    liegen liegt = lie/lying
    hängen hängt = hang/hanging
    stellen stellt = put/putting
    legen legt = put/putting
    helfen hilft = help/helping
    folgen folgt = follow/following
    danken dankt = thank/thanking
    zu|hören hört = listen/listening to
    zu|sehen sieht = watch/watching
    zu|winken winkt = wave/waving to
    geben gibt = give/giving
    zeigen zeigt = show/showing
    bringen bringt = bring/bringing
    vor|lesen liest = read/reading
    zu|werfen wirft = throw/throwing
    versuchen versucht = try/trying
    an|halten hält = stop/stopping
    an|sehen sieht = look/looking at
    auf|heben hebt = pick/picking up
    an|ziehen zieht = put/putting on
    aus|ziehen zieht = take/taking off
    auf|machen macht = open/opening
    zu|machen macht = close/closing
    ein|schalten schaltet = turn/turning on
    aus|schalten schaltet = turn/turning off
    auf|hängen hängt = hang/hanging up
    auf|räumen räumt = tidy/tidying up
    ein|packen packt = wrap/wrapping
    aus|packen packt = unpack/unpacking
    ab|holen holt = collect/collecting
    ein|steigen:bus steigt = get/getting on
    ein|steigen:auto steigt = get/getting into
    aus|steigen:bus steigt = get/getting off
    aus|steigen:auto steigt = get/getting out of
    entlang|laufen läuft = run/running along
    entlang|gehen geht = walk/walking along
    hinauf|gehen geht = walk/walking up
    hinunter|gehen geht = walk/walking down
    hinunter|rennen rennt = run/running down
    hinunter|rutschen rutscht = slide/sliding down
""")

# -------------------------------------------------------------------------------------------------
# German grammar
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
    return ADJECTIVE_STEMS.get(adjective, adjective) + table[case][column(noun, plural)]


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
    direction; with
    nothing after it, manner moves before the place.
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
        return TALL
    return ADJECTIVES[adjective]


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
    adverb = ADVERBS.get(predicate.adverb, "")
    if not adverb:
        words = [form, predicate.english]
    elif predicate.english and predicate.adverb not in LATE_ADVERBS:
        words = [adverb, form, predicate.english]
    else:
        words = [form, predicate.english, adverb]
    return " ".join(word for word in [*words, predicate.english_place] if word)


def english_clause(subject, predicate):
    """A present progressive: a man is reading a book."""
    progressive = english_predicate(predicate, predicate.verb.progressive)
    return f"{subject.english} {be(subject.plural)} {progressive}"


def english_relative(noun):
    """who for people, that for animals and things."""
    return "who" if "person" in noun.tags else "that"


# -------------------------------------------------------------------------------------------------
# What goes with what: places, activities, directions
# -------------------------------------------------------------------------------------------------


class Location(NamedTuple):
    """A place to be: German preposition and noun, English preposition, and what is done there."""

    preposition: str
    noun: Noun
    english: str
    uses: tuple[str, ...]


def locations(table):
    """Read a location a line: ``preposition noun = English preposition : uses``."""
    entered = []
    for line in table.strip().splitlines():
        german, rest = line.split("=")
        english, uses = rest.split(":")
        preposition, name = german.split()
        entered.append(Location(preposition, NOUNS[name], english.strip(), tuple(uses.split())))
    return entered


LOCATIONS = locations("""
    in Park = in : park way sport animal
    in Garten = in : park garden animal
    in Hof = in : park garden animal sport
    auf Wiese = in : park sport animal farm
    auf Spielplatz = on : play
    an Strand = on : park way sport sand shore
    in Sand = in : sand
    an See = by : park way shore
    an Fluss = by : park way shore
    in Wald = in : way animal forest
    unter Baum = under : park animal
    auf Hügel = on : animal farm snow
    hinter Haus = behind : park garden animal
    neben Haus = next to : park garden animal
    vor Haus = in front of : street garden animal
    in Schnee = in : snow
    auf Berg = on : snow
    in Regen = in : street way
    in Sonne = in : park way animal
    in Gras = in : animal farm
    auf Straße = on : street way road
    auf Gehweg = on : street way
    auf Platz = in : street
    vor Kirche = in front of : street
    vor Rathaus = in front of : street
    vor Geschäft = in front of : street
    vor Museum = in front of : street
    vor Tor = in front of : street
    neben Statue = next to : street
    neben Brunnen = next to : street park
    unter Brücke = under : street
    auf Brücke = on : street way road
    an Ecke = on : street
    in Stadt = in : street way road
    an Bushaltestelle = at : wait
    an Bahnhof = at : wait
    auf Markt = at : market
    auf Bank = on : seat sit
    auf Sofa = on : seat sit
    auf Treppe = on : seat sit
    an Fenster = at : seat sit home
    an Tisch = at : sit table
    auf Balkon = on : seat sit
    auf Mauer = on : sit
    auf Teppich = on : sit
    auf Stuhl = on : sit
    auf Felsen = on : sit
    in Bett = in : bed
    in Zelt = in : bed sit
    in Wohnzimmer = in : home table
    in Zimmer = in : home bed
    in Küche = in : kitchen table
    in Restaurant = in : kitchen table
    in Café = in : table sit
    in Bibliothek = in : desk
    in Klassenzimmer = in : desk
    in Büro = in : desk
    in Zug = on : wait sit
    in Werkstatt = in : workshop
    in Garage = in : workshop
    auf Bauernhof = on : farm animal
    auf Feld = in : farm animal
    in Stadion = in : sport game ice
    in Turnhalle = in : sport game
    auf Bühne = on : stage
    auf See = on : ice
    in See = in : water
    in Meer = in : water
    in Becken = in : water
    in Fluss = in : water
    in Wasser = in : water
    auf Dach = on : bird
    auf Zaun = on : bird
    auf Ast = on : bird
    auf Mauer = on : bird
""")

TIMES = {
    "any": {
        "am Morgen": "in the morning",
        "am Nachmittag": "in the afternoon",
        "am Abend": "in the evening",
        "heute": "today",
        "am Sonntag": "on Sunday",
        "an einem sonnigen Tag": "on a sunny day",
        "an einem windigen Nachmittag": "on a windy afternoon",
        "an einem kalten Morgen": "on a cold morning",
        "an einem warmen Abend": "on a warm evening",
    },
    "winter": {"im Winter": "in winter", "an einem kalten Tag": "on a cold day"},
    "summer": {"im Sommer": "in summer", "an einem warmen Tag": "on a warm day"},
    "rest": {"nach dem Essen": "after the meal", "am Abend": "in the evening"},
    "child": {"nach der Schule": "after school"},
    "adult": {"nach der Arbeit": "after work"},
}


class Activity(NamedTuple):
    """A row of the table below: who does what, with which objects, where and how.

    ``kind`` says what the objects are: ``none``; ``one`` indefinite (two men carry a ladder);
    ``each`` one apiece (two men read newspapers); ``the`` or ``the plural`` definite; ``mass``
    without article; ``plural``; ``fixed`` German=English phrases, with another pair after ``/`` for
    plural subjects.
    """

    who: str
    verb: str
    kind: str
    objects: tuple[str, ...]
    uses: tuple[str, ...]
    adverbs: tuple[str, ...]
    times: tuple[str, ...]


def activity(who, verb, kind, objects, uses, adverbs="", times="any"):
    """One row; the objects of a ``fixed`` row are separated by commas."""
    objects = objects.split(", ") if kind == "fixed" else objects.split()
    if kind not in ("none", "fixed"):
        for name in objects:
            NOUNS[name]  # a misspelled noun fails here and not in the middle of the corpus
    return Activity(
        who,
        verb,
        kind,
        tuple(objects),
        tuple(uses.split()),
        tuple(adverbs.split()),
        tuple(times.split()),
    )


OUT = "park street seat"
MUSIC = (
    "Gitarre=the guitar, Geige=the violin, Flöte=the flute, Trompete=the trumpet, "
    "Akkordeon=the accordion, "
    "Saxophon=the saxophone, Klarinette=the clarinet, Cello=the cello"
)
ACTIVITIES = [
    activity("all", "singen", "none", "", "park street stage play", "laut leise fröhlich allein "
             "zusammen"),
    activity("all", "tanzen", "none", "", "park street stage", "fröhlich allein zusammen draußen "
             "langsam"),
    activity("all", "lachen", "none", "", "park street table seat play", "laut fröhlich"),
    activity("all", "lächeln", "none", "", "park street seat stage", "stolz fröhlich"),
    activity("child", "weinen", "none", "", "play bed street seat", "laut leise"),
    activity("child", "schreien", "none", "", "play water street", "laut"),
    activity("all", "schlafen", "none", "", "bed seat park", "allein draußen"),
    activity("all", "warten", "none", "", "wait wait street", "geduldig allein draußen zusammen"),
    activity("adult", "arbeiten", "none", "", "desk garden kitchen workshop farm",
             "schnell langsam allein zusammen"),
    activity("adult", "joggen", "none", "", "way", "langsam schnell allein zusammen"),
    activity("all", "klatschen", "none", "", "street stage park", "laut fröhlich"),
    activity("performer", "jonglieren", "none", "", "street stage park", "schnell allein"),
    activity("all", "schwimmen", "none", "", "water", "langsam schnell allein zusammen",
             "any summer summer"),
    activity("all", "tauchen", "none", "", "water", "allein zusammen", "summer any"),
    activity("all", "ausruhen", "none", "", "park seat bed", "draußen", "any adult rest"),
    activity("several", "unterhalten", "none", "", "park street table seat wait",
             "laut leise fröhlich", "any adult rest"),
    activity("all", "umsehen", "none", "", "street market wait", "vorsichtig schnell"),
    activity("all", "spielen", "fixed", MUSIC, "park street stage seat home", "laut leise "
        "fröhlich allein zusammen"),
    activity("performer", "spielen", "fixed", MUSIC, "stage street seat", "laut leise fröhlich "
        "stolz"),
    activity("all", "spielen", "fixed", "Klavier=the piano, Schlagzeug=the drums, Harfe=the harp",
             "stage home", "laut"),
    activity("all", "spielen", "fixed", "Fußball=soccer, Volleyball=volleyball, "
             "Basketball=basketball, Tennis=tennis, Hockey=hockey, Rugby=rugby", "sport",
             "zusammen draußen", "any child adult"),
    activity("all", "spielen", "fixed", "Schach=chess, Karten=cards", "park table",
             "leise zusammen", "any child adult rest"),
    activity("child", "spielen", "none", "", "play sand snow garden water",
             "laut fröhlich allein zusammen", "any child"),
    activity("child", "spielen", "fixed", "mit einer Puppe=with a doll, mit einem roten Ball=with "
             "a red ball, mit einem kleinen Hund=with a small dog, Verstecken=hide-and-seek",
             "play garden park", "fröhlich leise", "any child"),
    activity("all", "lesen", "each", "Buch Zeitung Brief Comic Gedicht",
             "park seat table desk wait", "leise laut allein draußen", "any rest"),
    activity("all", "schreiben", "each", "Brief Gedicht Postkarte Geschichte", "table desk seat",
             "langsam schnell"),
    activity("artist", "malen", "each", "Bild Blume Haus Baum", "park desk street",
             "langsam vorsichtig draußen"),
    activity("all", "zeichnen", "each", "Bild Landkarte Pferd Turm Blume", "park seat desk",
             "langsam vorsichtig schnell"),
    activity("all", "essen", "each", "Apfel Banane Birne Orange Karotte Pizza Brötchen Keks "
             "Brezel Wurst Salat Suppe Tomate Kuchen", "seat park table street",
             "langsam schnell allein draußen"),
    activity("all", "essen", "mass", "Brot Käse Reis Fleisch Obst", "table kitchen",
             "langsam schnell"),
    activity("all", "trinken", "mass", "Tee Wasser Milch Saft Limonade", "table seat park kitchen",
             "langsam schnell draußen"),
    activity("adult", "trinken", "mass", "Kaffee Bier", "table seat", "langsam allein zusammen",
             "any adult"),
    activity("cook", "kochen", "mass", "Reis Fleisch", "kitchen", "allein zusammen"),
    activity("cook", "kochen", "one", "Suppe", "kitchen", "schnell"),
    activity("cook", "backen", "one", "Kuchen Pizza", "kitchen", "stolz"),
    activity("cook", "backen", "mass", "Brot", "kitchen", "zusammen"),
    activity("cook", "backen", "plural", "Keks Brötchen Brezel", "kitchen", "fröhlich zusammen"),
    activity("cook", "schneiden", "mass", "Brot Käse Fleisch Obst", "kitchen",
             "vorsichtig langsam schnell"),
    activity("cook", "schneiden", "plural", "Tomate Karotte Birne Apfel", "kitchen",
             "vorsichtig langsam schnell"),
    activity("adult", "kaufen", "mass", "Obst Käse Brot Fleisch Kaffee", "market", "schnell"),
    activity("all", "kaufen", "plural", "Tomate Orange Birne Blume Rose Banane Keks", "market",
             "schnell"),
    activity("seller", "verkaufen", "plural", "Tomate Orange Birne Blume Rose Karotte Korb Hut "
             "Schuh Puppe", "market street", "fröhlich"),
    activity("seller", "verkaufen", "mass", "Obst Käse Brot Kaffee Limonade", "market street",
             "fröhlich"),
    activity("all", "tragen:last", "one", "Kiste Karton Korb Koffer Tasche Leiter Eimer Tablett "
             "Fahne Topf", "way garden", "vorsichtig langsam"),
    activity("all", "schieben", "one", "Fahrrad Rollstuhl Schubkarre Wagen", "way",
             "langsam vorsichtig"),
    activity("adult", "schieben", "one", "Kinderwagen Auto Motorrad", "road", "langsam vorsichtig"),
    activity("all", "ziehen", "one", "Schlitten", "snow", "langsam", "winter"),
    activity("all", "ziehen", "one", "Koffer Wagen", "way", "langsam schnell"),
    activity("all", "werfen", "one", "Ball Stock Stein", "park sand", "schnell"),
    activity("all", "fangen", "one", "Ball", "park sport sand", "vorsichtig schnell"),
    activity("child", "werfen", "one", "Schneeball", "snow", "fröhlich", "winter"),
    activity("fisher", "fangen", "one", "Fisch", "shore", "geduldig stolz allein"),
    activity("all", "halten", "each", "Schild Kamera Mikrofon Luftballon Kerze Tasse Fahne "
             "Regenschirm Flasche Glas Fahrkarte", "street park", "stolz vorsichtig"),
    activity("adult", "halten", "one", "Baby", "park seat street", "vorsichtig stolz"),
    activity("worker", "reparieren", "one", "Fahrrad Auto Motorrad Traktor Lastwagen Boot Roller "
             "Schubkarre", "workshop garden", "langsam schnell allein"),
    activity("worker", "reparieren", "one", "Dach Tür Fenster Brunnen Zaun", "",
             "langsam vorsichtig geduldig"),
    activity("worker", "reparieren", "one", "Stuhl Uhr Radio Bett", "workshop",
             "langsam vorsichtig geduldig"),
    activity("worker", "hacken", "mass", "Holz", "forest garden farm", "schnell"),
    activity("adult", "putzen", "the", "Fenster Küche Treppe Schuh Tisch Spiegel", "",
             "langsam schnell vorsichtig"),
    activity("adult", "waschen", "one", "Auto Motorrad Bus Hund Pferd", "garden street",
             "langsam vorsichtig"),
    activity("adult", "waschen", "the plural", "Teller Glas Topf", "kitchen",
             "langsam schnell vorsichtig"),
    activity("all", "fotografieren", "one", "Turm Brücke Kirche Statue Vogel Blume Boot Löwe", "",
             "vorsichtig stolz"),
    activity("all", "fotografieren", "the", "Turm Brücke Kirche Statue Brunnen Berg Meer", "",
             "stolz"),
    activity("all", "betrachten", "one", "Bild Statue Landkarte Plakat Turm Foto", "street",
             "geduldig"),
    activity("all", "ansehen", "one", "Bild Statue Landkarte Plakat Foto Uhr Boot", "street",
             "geduldig"),
    activity("all", "suchen", "one", "Schlüssel Münze Ball Tasche Schuh", "park street",
             "geduldig"),
    activity("all", "verstecken", "one", "Schlüssel Münze Brief Ball Geschenk", "garden home sand",
             "schnell leise"),
    activity("farmer", "füttern", "plural", "Kuh Schwein Schaf Ziege Gans Pferd", "farm",
             "geduldig schnell"),
    activity("all", "füttern", "plural", "Ente Gans Vogel Kaninchen", "park",
             "vorsichtig geduldig leise"),
    activity("all", "füttern", "one", "Hund Katze Esel Pferd Welpe Elefant Affe", "",
             "vorsichtig geduldig"),
    activity("all", "streicheln", "one", "Hund Katze Esel Pferd Welpe Kaninchen Ziege Schaf",
             "park farm", "vorsichtig"),
    activity("all", "umarmen", "one", "Freund Clown Hund Welpe Baum", "park street",
             "fröhlich vorsichtig"),
    activity("all", "suchen", "one", "Hund Katze Esel Schaf", "forest farm", "geduldig"),
    activity("gardener", "pflanzen", "plural", "Blume Baum Rose Tomate Karotte", "garden",
             "vorsichtig zusammen"),
    activity("gardener", "gießen", "the plural", "Blume Rose Tomate Pflanze", "garden",
             "vorsichtig langsam", "any summer"),
    activity("all", "pflücken", "plural", "Apfel Birne Blume Tomate Rose Orange", "garden farm",
             "vorsichtig schnell zusammen", "any summer"),
    activity("worker", "bauen", "one", "Hütte Zaun Mauer Tisch", "garden", "langsam schnell"),
    activity("child", "bauen", "one", "Sandburg", "sand", "stolz fröhlich zusammen",
             "summer summer any"),
    activity("child", "bauen", "one", "Schneemann", "snow", "stolz fröhlich zusammen", "winter"),
    activity("all", "graben", "one", "Loch", "garden sand farm", "schnell langsam"),
    activity("all", "gehen:spazieren", "fixed", "spazieren=a walk", "way", ""),
    activity("all", "laufen:eis", "fixed", "Schlittschuh=", "ice", "langsam schnell zusammen",
             "winter"),
    activity("all", "fahren:ski", "fixed", "Ski=", "snow", "langsam schnell zusammen", "winter"),
    activity("all", "fahren:rad", "fixed", "mit dem Fahrrad=a bicycle/mit dem Fahrrad=bicycles, "
             "mit dem Roller=a scooter/mit dem Roller=scooters, Skateboard=a "
             "skateboard/Skateboard=skateboards", "way road", "langsam schnell vorsichtig allein"),
    activity("adult", "fahren:auto", "each", "Auto Lastwagen Bus Traktor", "road",
             "langsam schnell vorsichtig"),
    activity("adult", "fahren:rad", "each", "Motorrad", "road", "langsam schnell"),
    activity("police", "anhalten", "one", "Auto Lastwagen Bus Motorrad", "road", "schnell"),
    activity("police", "anhalten", "the", "Ball Pferd Wagen Zug", "", "schnell vorsichtig"),
    activity("all", "aufheben", "one", "Stein Ball Münze Stock Schuh Schlüssel Hut", "park street",
             "schnell vorsichtig"),
    activity("all", "aufheben", "the", "Stein Ball Münze Korb Kiste Tasche", "",
             "schnell vorsichtig langsam"),
    activity("all", "anziehen", "each", "Jacke Mantel Pullover Weste", "", "schnell langsam"),
    activity("all", "ausziehen", "each", "Jacke Mantel Pullover Hemd", "", "schnell langsam"),
    activity("all", "aufmachen", "the", "Tür Fenster Flasche Tor Kiste Karton Koffer Zelt", "",
             "vorsichtig langsam leise"),
    activity("all", "aufmachen", "one", "Geschenk Brief Flasche Karton", "home seat",
             "vorsichtig schnell"),
    activity("all", "zumachen", "the", "Tür Fenster Flasche Tor Kiste Koffer Schrank", "",
             "vorsichtig schnell leise"),
    activity("all", "einschalten", "the", "Lampe Fernseher Computer Radio", "home", "schnell"),
    activity("all", "ausschalten", "the", "Lampe Fernseher Computer Radio", "home", "schnell"),
    activity("adult", "aufhängen", "one", "Bild Plakat Lampe Spiegel Uhr", "home",
             "vorsichtig langsam"),
    activity("all", "aufräumen", "the", "Küche Zimmer Garage Wohnzimmer Werkstatt Klassenzimmer",
             "", "schnell langsam"),
    activity("all", "einpacken", "one", "Geschenk", "home table", "vorsichtig fröhlich"),
    activity("all", "auspacken", "one", "Geschenk Koffer Karton Kiste", "home",
             "vorsichtig schnell"),
    activity("adult", "abholen", "the", "Kind Karton Brief Auto Hund", "", "schnell"),
    activity("all", "reiten", "fixed", "auf einem weißen Pferd=a white horse/auf weißen "
             "Pferden=white horses, auf einem schwarzen Pferd=a black horse/auf schwarzen "
             "Pferden=black horses, auf einem Esel=a donkey/auf Eseln=donkeys, auf einem "
             "Elefanten=an elephant/auf Elefanten=elephants", "way", "langsam stolz"),
]  # fmt: skip
ANIMAL_ACTIVITIES = [
    activity("Hund Katze Welpe Kaninchen Pferd Kuh Ziege Esel Schaf Schwein Löwe Affe Bär Elefant "
             "Gans", "schlafen", "none", "", "animal", "draußen"),
    activity("Hund Katze Welpe Kuh Esel Schaf Schwein Löwe Bär Ziege Kaninchen", "ausruhen", "none",
             "", "animal farm", ""),
    activity("Hund Welpe", "bellen", "none", "", "way park", "laut"),
    activity("Hund Welpe Affe Katze", "spielen", "fixed", "mit einem Ball=with a ball, mit einem "
             "Seil=with a rope", "animal", "fröhlich"),
    activity("Hund Ente Gans Elefant Bär", "schwimmen", "none", "", "water", "langsam schnell"),
    activity("Hund Löwe Bär", "fressen", "mass", "Fleisch", "animal", "schnell langsam"),
    activity("Hund Welpe", "fressen", "one", "Knochen Wurst", "animal", "schnell"),
    activity("Pferd Esel Kaninchen Ziege Schwein", "fressen", "each", "Karotte Apfel", "farm",
             "schnell langsam"),
    activity("Affe Elefant", "fressen", "each", "Banane", "animal", "schnell langsam"),
    activity("Katze Bär Möwe", "fressen", "each", "Fisch", "animal", "schnell langsam"),
    activity("Pferd Kuh Schaf Ziege Esel Gans Kaninchen", "fressen", "mass", "Gras", "farm",
             "langsam"),
    activity("Pferd Kuh Schaf Ziege Esel Elefant", "fressen", "mass", "Heu", "farm", "langsam"),
    activity("Hund Pferd Kuh Schwein Elefant Löwe Bär Schaf", "trinken", "mass", "Wasser", "animal",
             "schnell langsam"),
    activity("Katze", "trinken", "mass", "Milch", "kitchen", "schnell langsam"),
    activity("Hund", "jagen", "one", "Katze Vogel Kaninchen Ente Ball", "park", ""),
    activity("Katze", "jagen", "one", "Maus Vogel", "animal", ""),
    activity("Katze", "fangen", "one", "Maus", "animal", "schnell"),
    activity("Hund Welpe", "fangen", "one", "Ball Stock", "park sand", "schnell"),
    activity("Hund Kaninchen", "graben", "one", "Loch", "animal sand", "schnell"),
    activity("Pferd Esel", "ziehen", "one", "Wagen", "farm road", "langsam"),
    activity("Vogel", "singen", "none", "", "bird", "laut leise"),
    activity("Vogel Möwe", "sitzen", "none", "", "bird", "allein"),
    activity("Hund Katze", "sitzen", "none", "", "animal", "geduldig allein"),
    activity("Kuh Pferd Schaf Esel Ziege", "stehen", "none", "", "farm", "allein"),
    activity("Hund Katze Löwe Schwein Welpe", "liegen", "none", "", "animal", "allein"),
]  # fmt: skip

GROUPS = {
    "all": PEOPLE,
    "several": PEOPLE,
    "adult": MEN + WOMEN,
    "child": CHILDREN,
    "performer": [NOUNS[n] for n in "Musiker Clown Zauberer Tänzerin Sängerin Student".split()],
    "artist": [NOUNS[n] for n in "Maler Künstlerin Student Mädchen Junge Frau Mann Kind".split()],
    "cook": [
        NOUNS[n] for n in "Koch Köchin Bäcker Mutter Vater Großmutter Mann Frau Nachbarin".split()
    ],
    "seller": [NOUNS[n] for n in "Verkäuferin Bauer Mann Frau Bäcker Gärtner Dame Junge".split()],
    "fisher": [NOUNS[n] for n in "Fischer Mann Großvater Junge Frau Tourist".split()],
    "worker": [
        NOUNS[n]
        for n in "Arbeiter Tischler Mechaniker Mann Frau Vater Großvater Nachbar Bauer".split()
    ],
    "farmer": [NOUNS[n] for n in "Bauer Frau Mann Junge Mädchen Kind Nachbar".split()],
    "gardener": [
        NOUNS[n] for n in "Gärtner Frau Mann Großmutter Mädchen Großvater Nachbarin Kind".split()
    ],
    "police": [NOUNS[n] for n in "Polizist Polizistin Soldat Mann Frau".split()],
}

# Motion: verb, and directions as "preposition noun=English preposition".
MOTIONS = {
    "gehen": "durch Park=through, durch Wald=through, durch Tunnel=through, durch Tor=through, "
    "durch Stadt=through, "
    "über Brücke=across, über Straße=across, über Platz=across, zu Bahnhof=to, zu Markt=to, zu "
    "Kirche=to, "
    "zu Bushaltestelle=to, zu Strand=to, zu Brücke=to, in Haus=into, in Museum=into, in "
    "Küche=into, in Geschäft=into, aus Haus=out of, "
    "aus Geschäft=out of, aus Kirche=out of, um See=around, zu Rathaus=to",
    "laufen": "durch Park=through, durch Wald=through, durch Regen=through, durch "
    "Pfütze=through, über Wiese=across, über Brücke=across, "
    "über Feld=across, um See=around, um Baum=around, zu Tor=to, zu Bahnhof=to, zu "
    "Bushaltestelle=to, zu Brücke=to",
    "rennen": "durch Park=through, durch Schnee=through, durch Regen=through, durch "
    "Pfütze=through, über Wiese=across, über Straße=across, "
    "in Haus=into, in Wald=into, um Brunnen=around, um Baum=around, aus Haus=out of, aus "
    "Wasser=out of, hinter Haus=behind, "
    "zu Bushaltestelle=to, durch Gras=through",
    "springen": "über Zaun=over, über Pfütze=over, über Bach=over, über Mauer=over, in See=into, "
    "in Wasser=into, in Becken=into, "
    "in Schnee=into, in Sand=into, von Mauer=off, von Felsen=off, von Bank=off, von Sofa=off, "
    "auf Sofa=onto, auf Bank=onto, aus Boot=out of",
    "klettern": "auf Baum=up, auf Berg=up, auf Felsen=up, auf Leiter=up, auf Turm=up, auf "
    "Mauer=up, über Zaun=over, "
    "über Mauer=over, über Tor=over, auf Dach=onto, aus Zelt=out of, von Baum=down from",
    "kriechen": "unter Tisch=under, unter Bett=under, unter Zaun=under, in Zelt=into, durch "
    "Tunnel=through, hinter Sofa=behind, "
    "aus Zelt=out of, durch Gras=through, über Teppich=across",
    "entlanggehen": "an Fluss=, an Strand=, an Zaun=, an See=, an Mauer=",
    "entlanglaufen": "an Fluss=, an Strand=, an Zaun=, an See=, an Mauer=",
    "einsteigen:bus": "in Bus=, in Zug=",
    "einsteigen:auto": "in Auto=, in Boot=, in Lastwagen=",
    "aussteigen:bus": "aus Bus=, aus Zug=",
    "aussteigen:auto": "aus Auto=, aus Boot=, aus Lastwagen=",
}
PATHS = {  # separable verbs of direction with an accusative of the way
    "hinaufgehen": "Treppe Straße Hügel",
    "hinuntergehen": "Treppe Straße Hügel",
    "hinunterrennen": "Treppe Straße Hügel",
    "hinunterrutschen": "Rutsche Hügel",
}
ANIMAL_MOTIONS = {
    "laufen": (
        "Hund Pferd Katze Kaninchen Ziege Elefant Welpe Affe Bär Löwe",
        "durch "
        "Park=through, über Wiese=across, "
        "durch Schnee=through, über Feld=across, durch Gras=through, in Wald=into, um "
        "Baum=around, über Straße=across",
    ),
    "springen": (
        "Hund Pferd Katze Ziege Welpe",
        "über Zaun=over, über Bach=over, über Mauer=over, über Pfütze=over",
    ),
    "fliegen": (
        "Vogel Möwe Ente Gans",
        "über See=over, über Meer=over, über Haus=over, über "
        "Wald=over, über Stadt=over, "
        "um Turm=around, über Feld=over, zu Baum=to",
    ),
    "klettern": ("Katze Affe Bär", "auf Baum=up, auf Felsen=up, über Mauer=over"),
    "kriechen": (
        "Katze Welpe Kaninchen",
        "unter Tisch=under, unter Bett=under, unter Sofa=under, unter Zaun=under",
    ),
    "gehen": (
        "Elefant Kuh Esel Pferd Schaf Gans",
        "durch Wasser=through, über Brücke=across, über Straße=across",
    ),
}

# Where things are, and where people put them: place verb, putting verb, things, prepositions,
# bases.
ARRANGEMENTS = [
    (
        "stehen",
        "stellen",
        "Vase Lampe Tasse Flasche Teller Topf Glas Radio Korb Kerze Tablett",
        "auf",
        "Tisch Schrank",
    ),
    (
        "stehen",
        "stellen",
        "Korb Eimer Koffer Kiste Karton",
        "neben unter hinter vor",
        "Tisch Bett Stuhl",
    ),
    ("stehen", "stellen", "Lampe Pflanze Korb", "neben hinter vor", "Sofa Bett Schrank"),
    (
        "stehen",
        "stellen",
        "Fahrrad Roller Eimer Schubkarre Leiter",
        "neben hinter vor",
        "Haus Kirche Garage Baum Zaun",
    ),
    (
        "stehen",
        "",
        "Auto Motorrad Lastwagen Bus Traktor",
        "neben hinter vor",
        "Haus Kirche Garage Geschäft Rathaus Museum",
    ),
    (
        "liegen",
        "legen",
        "Buch Brief Zeitung Schlüssel Ball Puppe Tasche Decke Hut Brille Apfel Münze",
        "auf neben unter",
        "Tisch Stuhl Bett Bank",
    ),
    (
        "liegen",
        "legen",
        "Apfel Banane Orange Schlüssel Brief Münze Foto",
        "in",
        "Korb Karton Kiste Tasche Schrank",
    ),
    (
        "liegen",
        "legen",
        "Stein Stock Ball Seil Fahrrad",
        "neben hinter vor",
        "Baum Haus Zaun Mauer Brunnen",
    ),
    ("hängen", "hängen", "Bild Plakat Spiegel Uhr Landkarte", "an", "Wand"),
    ("hängen", "hängen", "Lampe Bild Spiegel Uhr", "über", "Tisch Sofa Bett"),
    ("hängen", "hängen", "Jacke Mantel Tasche", "an", "Tür"),
    ("hängen", "hängen", "Fahne Lampe Plakat", "über", "Tür Fenster Tor"),
]
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

# Verbs with a dative: verb, receivers, things given.
GIVING = [
    (
        "geben",
        "person",
        "Apfel Keks Ball Buch Blume Geschenk Luftballon Brief Schlüssel Tasse Fahrkarte "
        "Regenschirm Münze",
    ),
    ("geben", "Hund Welpe", "Knochen Wurst Keks Ball"),
    ("geben", "Pferd Esel Kaninchen Elefant Ziege", "Karotte Apfel"),
    ("geben", "Affe", "Banane Birne"),
    ("zeigen", "person", "Foto Bild Landkarte Brief Fahrkarte Buch Kamera Uhr Postkarte Puppe"),
    ("bringen", "person", "Tasse Suppe Salat Glas Decke Kuchen Brief Flasche Pizza Stuhl Teller"),
    ("vorlesen", "child", "Buch Geschichte Gedicht Brief"),
    ("zuwerfen", "person", "Ball Schlüssel Apfel Seil Schneeball"),
    ("zuwerfen", "Hund Welpe", "Ball Stock"),
]
DATIVE_VERBS = {
    "helfen": "all",
    "folgen": "all",
    "danken": "adult",
    "zuhören": "Musiker Sängerin Lehrer Lehrerin Großvater Reporter Vogel",
    "zusehen": "Clown Tänzerin Zauberer Affe Athlet Maler Koch Künstlerin Elefant",
    "zuwinken": "Freund Nachbar Nachbarin Kind Briefträger Pilot Mutter Großmutter",
}

RAIN = ("es regnet", "it is raining")
SNOW = ("es schneit", "it is snowing")
COLD = ("es kalt ist", "it is cold")
HOT = ("es heiß ist", "it is hot")
DARK = ("es dunkel ist", "it is dark")
WINDY = ("es windig ist", "it is windy")
UNTIL = {  # what people wait for, and where
    ("der Bus kommt", "the bus comes"): "an Bushaltestelle, auf Gehweg, auf Platz",
    ("der Zug kommt", "the train comes"): "an Bahnhof",
    (
        "ein Freund kommt",
        "a friend comes",
    ): "in Park, auf Bank, vor Haus, an Tisch, in Café, neben Brunnen, an Ecke",
    ("die Ampel grün ist", "the traffic light is green"): "an Ecke, auf Straße",
    ("das Museum öffnet", "the museum opens"): "vor Museum, auf Treppe, auf Platz",
    ("das Geschäft öffnet", "the store opens"): "vor Geschäft, auf Straße",
    (
        "der Regen aufhört",
        "the rain stops",
    ): "unter Brücke, unter Baum, an Bushaltestelle, in Café, in Zelt",
    ("das Spiel beginnt", "the game begins"): "in Stadion, in Turnhalle, auf Wiese",
}
COMPARATIVES = {
    "größer": "taller",
    "kleiner": "smaller",
    "älter": "older",
    "jünger": "younger",
    "schneller": "faster",
    "stärker": "stronger",
    "lauter": "louder",
}

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
        colors = [word for word in noun.adjectives if word in COLORS.split() and word != "bunt"]
        if (
            colors
            and first not in (*COLORS.split(), "golden", "silbern", "dunkel", "hell", "bunt")
            and "person" not in noun.tags
            and self.chance(0.2)
        ):
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
        """A noun from a group; half the time one of the five that most captions are about."""
        nouns = self.group(who)
        everyday = [noun for noun in nouns if noun.singular in EVERYBODY]
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
        plain = plural or noun.singular in ("Hemd", "Hose", "Jacke", "Pullover", "Rock", "Bluse")
        adjectives = self.adjectives(noun, 1.0 if plain else 0.7)
        return NounPhrase(noun, BARE if plural else INDEFINITE, adjectives, plural)

    def wearing(self, person, plural):
        """trägt einen Hut / is wearing a hat."""
        garment = self.garment(self.clothes(person)[0], plural)
        return Predicate(
            VERBS["tragen:kleidung"],
            late=german_noun_phrase(garment, "acc"),
            english=english_noun_phrase(garment),
        )

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
        fixed = noun.singular in MASS_PLACES or not noun.adjectives
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
            adverbs = [word for word in adverbs if word not in LATE_ADVERBS]
        manner = self.pick(adverbs) if adverbs and self.chance(adverb) else ""
        return Predicate(verb, early, late, english, german_place, english_place, manner)

    def motion(self, motions=None):
        """Verb and direction: läuft über die Brücke."""
        motions = motions or MOTIONS
        name, way = self.pick(
            [(name, way) for name in motions for way in motions[name].split(", ")]
        )
        preposition, noun, english = re.match(r"(\S+) (\S+)=(.*)", way).groups()
        noun = NOUNS[noun]
        fixed = noun.singular in MASS_PLACES
        determiner = DEFINITE if fixed or preposition == "zu" or self.chance(0.6) else INDEFINITE
        phrase = NounPhrase(
            noun, determiner, self.adjectives(noun, 0.3 if determiner == DEFINITE else 0.5)
        )
        # entlang and aus belong to their verb: am Fluss entlang, aus dem Bus aus
        direction = not name.startswith("entlang")
        late = german_prepositional(preposition, phrase, direction)
        return Predicate(
            VERBS[name], late=late, english=f"{english} {english_noun_phrase(phrase)}".strip()
        )

    def path(self):
        """die Treppe hinauf."""
        name = self.pick(PATHS)
        noun = NOUNS[self.pick(PATHS[name].split())]
        phrase = NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.5))
        return Predicate(
            VERBS[name], late=german_noun_phrase(phrase, "acc"), english=english_noun_phrase(phrase)
        )

    def giving(self, giver):
        """gibt dem Hund einen Knochen / is giving the dog a bone."""
        name, receivers, things = self.pick(GIVING)
        group = GROUPS["all"] if receivers == "person" else self.group(receivers)
        receiver = self.pick([noun for noun in group if noun.english != giver.english])
        several = name in ("vorlesen", "zeigen") and self.chance(0.3)
        receiver = self.phrase(receiver, several, adjective=0.35, definite=0.5, large=False)
        thing = NOUNS[self.pick(things.split())]
        thing = NounPhrase(thing, INDEFINITE, self.adjectives(thing, 0.4))
        return Predicate(
            VERBS[name],
            german_noun_phrase(receiver, "dat"),
            german_noun_phrase(thing, "acc"),
            f"{english_noun_phrase(receiver)} {english_noun_phrase(thing)}",
        )

    def dative(self, helper):
        """hilft einer alten Frau / is helping an old woman."""
        name = self.pick(DATIVE_VERBS)
        group = [noun for noun in self.group(DATIVE_VERBS[name]) if noun.english != helper.english]
        helped = self.phrase(self.pick(group), self.chance(0.2), adjective=0.6, large=False)
        return Predicate(
            VERBS[name], german_noun_phrase(helped, "dat"), "", english_noun_phrase(helped)
        )

    def putting(self):
        """stellt die Tasse auf den Tisch."""
        _, name, things, prepositions, bases = self.pick([row for row in ARRANGEMENTS if row[1]])
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
        noun = NOUNS[self.pick(names.split())]
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
        noun = NOUNS[self.pick(bases.split())]
        determiner = DEFINITE if noun.singular in MASS_PLACES or self.chance(0.75) else INDEFINITE
        phrase = NounPhrase(noun, determiner, self.adjectives(noun, 0.25))
        return self.pick(prepositions.split()), phrase

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
        return main_clause(subject, predicate), english_clause(subject, predicate)

    def fronted_place(self):
        """Auf der Straße spielt ein Mann Gitarre."""
        row = self.activity(lambda row: row.uses)
        plural = row.who == "several" or self.chance(0.3)
        dry = "water" not in row.uses
        subject = self.people(row.who, plural, 0.2 if dry else 0, row.kind in ("none", "fixed"))
        predicate = self.predicate(row, plural, place=0)
        german, english = self.place(row.uses)
        return main_clause(
            subject, predicate, german
        ), f"{english}, {english_clause(subject, predicate)}"

    def fronted_time(self):
        """Am Morgen liest eine Frau die Zeitung. Am Abend geht ein Mann zum Bahnhof."""
        if self.chance(0.2):
            times = TIMES[self.pick(["any", "adult", "child"])]
            subject = self.people(
                "child" if "nach der Schule" in times else "adult", clothes=0.1, large=False
            )
            german, english = self.pick(list(times.items()))
            predicate = self.motion()
            return main_clause(
                subject, predicate, german
            ), f"{english}, {english_clause(subject, predicate)}"
        row = self.activity()
        if self.chance(0.2):
            row = self.activity(lambda row: "summer" in row.times or "winter" in row.times)
        times = [row.times[int(self.random() * len(row.times))]]
        if (times == ["adult"] and row.who == "all") or (times == ["child"] and row.who == "all"):
            who = times[0]
        else:
            who = row.who
        plural = row.who == "several" or self.chance(0.3)
        german, english = self.pick(list(TIMES[times[0]].items()))
        if row.who == "several":
            who = "adult"
        subject = self.people(who, plural, 0, row.kind in ("none", "fixed"))
        predicate = self.predicate(row, plural, place=0.25)
        return main_clause(
            subject, predicate, german
        ), f"{english}, {english_clause(subject, predicate)}"

    def couples(self):
        """Ein Mann und eine Frau tanzen im Park."""
        row = self.activity(lambda row: len(self.group(row.who)) > 3)
        subject = self.couple(row.who)
        predicate = self.predicate(row, True)
        return main_clause(subject, predicate), english_clause(subject, predicate)

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
        return main_clause(subject, predicate), english_clause(subject, predicate)

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
            options = ["müde", "glücklich", "hungrig", "nervös", "blond", "traurig", "durstig"]
            word = self.pick(options)
            german = f"{subject.german} {'sind' if plural else 'ist'} {word}"
            return spell([german]), f"{subject.english} {be(plural)} {ADJECTIVES[word]}"
        return main_clause(subject, predicate), english_clause(subject, predicate)

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
        return main_clause(subject, predicate), english_clause(subject, predicate)

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
        return f"{subject.german} ist {word}", f"{subject.english} {be(plural)} {ADJECTIVES[word]}"

    def relative_genitive(self):
        """Der Mann, dessen Mantel rot ist, wartet am Bahnhof."""
        noun = self.person("all")
        garment = self.clothes(noun)[0]
        several = "pair" in garment.tags
        patterns = (
            *COLORS.split(),
            "gestreift",
            "kariert",
            "neu",
            "alt",
            "schmutzig",
            "lang",
            "kurz",
        )
        word = self.pick([word for word in garment.adjectives if word in patterns])
        german = (
            f"{relative_pronoun(noun, False, 'gen')} {noun_form(garment, 'nom', several)} {word}"
        )
        german += " sind" if several else " ist"
        many = several or garment.english == garment.english_plural
        worn = garment.english_plural if several else garment.english
        english = f"whose {worn} {be(many)} {ADJECTIVES[word]}"
        phrase = self.phrase(noun, definite=0.5)._replace(
            german_after=f", {german},", english_after=english
        )
        subject = self.subject(phrase)
        everyone = [row for row in ACTIVITIES if row.who == "all" and "water" not in row.uses]
        predicate = self.predicate(self.pick(everyone), place=0.5, adverb=0)
        return main_clause(subject, predicate), english_clause(subject, predicate)

    def seated(self):
        """Auf der Bank sitzt ein alter Mann und liest ein Buch."""
        row = self.activity(
            lambda row: "seat" in row.uses and row.verb not in ("schlafen", "warten", "lächeln")
        )
        plural = row.who == "several" or self.chance(0.25)
        subject = self.people(row.who, plural, 0.15, large=False)
        german, english = self.place(("sit",), plural)
        here = [word for word in row.adverbs if word not in LATE_ADVERBS]
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
        subordinate = f"während {verb_final(second.german, two, second.plural)}"
        english = f"while {english_clause(second, two)}"
        if roll < 0.65:
            return (
                f"{main_clause(first, one)}, {subordinate}",
                f"{english_clause(first, one)} {english}",
            )
        return (
            f"{main_clause(first, one, subordinate + ',')}",
            f"{english}, {english_clause(first, one)}",
        )

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
            verb, feelings = self.pick(
                [
                    ("schlafen", "müde"),
                    ("ausruhen", "müde"),
                    ("essen", "hungrig"),
                    ("trinken", "durstig"),
                    ("lachen", "glücklich fröhlich"),
                    ("tanzen", "glücklich fröhlich"),
                    ("weinen", "traurig müde"),
                    ("singen", "glücklich fröhlich"),
                    ("lächeln", "glücklich"),
                    ("klatschen", "glücklich"),
                ]
            )
            feeling = self.pick(feelings.split())
            row = self.activity(lambda row: row.verb == verb and row.objects != ("Kaffee", "Bier"))
            subject = self.gendered(row.who)
            predicate = self.predicate(row, subject.plural, place=0.4, adverb=0)
            german, english = self.pronoun(subject)
            german += f" {feeling} {'sind' if subject.plural else 'ist'}"
            english += f" {be(subject.plural)} {ADJECTIVES[feeling]}"
        elif roll < 0.7:
            garment = NOUNS[
                self.pick(["Mantel", "Schal", "Handschuh", "Mütze", "Pullover", "Jacke", "Stiefel"])
            ]
            subject = self.people("all", clothes=0, large=False)
            phrase = self.garment(garment, subject.plural)
            predicate = Predicate(
                VERBS["tragen:kleidung"],
                late=german_noun_phrase(phrase, "acc"),
                english=english_noun_phrase(phrase),
            )
            german, english = self.pick([COLD, SNOW, WINDY])
        elif roll < 0.85:
            subject = self.people("all", large=False)
            if self.chance(0.5):
                phrase = self.phrase(NOUNS["Regenschirm"], subject.plural, definite=0)
                phrase = phrase._replace(determiner=BARE if subject.plural else INDEFINITE)
                predicate = Predicate(
                    VERBS["halten"],
                    late=german_noun_phrase(phrase, "acc"),
                    english=english_noun_phrase(phrase),
                )
                german, english = RAIN
            else:
                predicate = self.motion(
                    {
                        "rennen": "in Haus=into, in Geschäft=into, in Bahnhof=into, in "
                        "Kirche=into, in Zelt=into"
                    }
                )
                german, english = self.pick([RAIN, SNOW, COLD, WINDY])
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
            german, english = HOT
        if feeling is None and self.chance(0.4):
            return main_clause(
                subject, predicate, f"weil {german},"
            ), f"because {english}, {english_clause(subject, predicate)}"
        return (
            f"{main_clause(subject, predicate)}, weil {german}",
            f"{english_clause(subject, predicate)} because {english}",
        )

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
        german, english = self.pick(
            [COLD, DARK, WINDY] if flowers else [RAIN, SNOW, COLD, DARK, WINDY]
        )
        if self.chance(0.3):
            return (
                main_clause(subject, predicate, f"obwohl {german},"),
                f"although {english}, {english_clause(subject, predicate)}",
            )
        return (
            f"{main_clause(subject, predicate)}, obwohl {german}",
            f"{english_clause(subject, predicate)} although {english}",
        )

    def weather(self):
        """Wegen des Regens ..., trotz der Kälte ..."""
        row = self.outdoors()
        plural = row.who == "several" or self.chance(0.3)
        subject = self.people(row.who, plural, 0.1, row.kind in ("none", "fixed"))
        predicate = self.predicate(row, plural, place=0, adverb=0)
        preposition, english = "trotz", "in spite of"
        if self.chance(0.4):
            preposition, english = "wegen", "because of"
            subject = self.people("all", clothes=0, large=False)
            motions = {
                "gehen": "in Haus=into, in Geschäft=into, in Museum=into, in Kirche=into, in "
                "Café=into, in Restaurant=into"
            }
            predicate = self.motion(motions)
        noun = NOUNS[self.pick(["Regen", "Schnee", "Hitze", "Kälte", "Wind", "Nebel", "Lärm"])]
        phrase = NounPhrase(noun, DEFINITE, self.adjectives(noun, 0.3))
        german = german_prepositional(preposition, phrase)
        english = f"{english} {english_noun_phrase(phrase)}"
        if self.chance(0.5):
            return main_clause(
                subject, predicate, german
            ), f"{english}, {english_clause(subject, predicate)}"
        predicate = predicate._replace(place=german)
        return main_clause(subject, predicate), f"{english_clause(subject, predicate)} {english}"

    def until(self):
        """Eine Frau wartet am Bahnhof, bis der Zug kommt."""
        subject = self.people("all")
        event = self.pick(list(UNTIL))
        place = self.pick(UNTIL[event].split(", "))
        location = next(
            one for one in LOCATIONS if f"{one.preposition} {one.noun.singular}" == place
        )
        german, english = self.at(location) if self.chance(0.6) else ("", "")
        predicate = Predicate(VERBS["warten"], place=german, english_place=english)
        german, english = event
        return (
            f"{main_clause(subject, predicate)}, bis {german}",
            f"{english_clause(subject, predicate)} until {english}",
        )

    def purpose(self):
        """Ein Mann geht in die Küche, um einen Kuchen zu backen."""
        rooms = {
            "kitchen": "Küche",
            "garden": "Garten Hof",
            "park": "Park",
            "market": "Stadt",
            "desk": "Büro Bibliothek",
            "home": "Wohnzimmer Zimmer",
            "workshop": "Werkstatt Garage",
            "sport": "Stadion Turnhalle Park",
            "table": "Café Küche Wohnzimmer",
            "forest": "Wald",
        }
        left_out = (
            "lächeln",
            "lachen",
            "schreien",
            "weinen",
            "umsehen",
            "betrachten",
            "gehen:spazieren",
            "halten",
            "tragen:last",
            "schieben",
            "ziehen",
            "unterhalten",
            "aufheben",
            "warten",
            "ansehen",
            "werfen",
            "klatschen",
            "umarmen",
            "fangen",
        )
        row = self.activity(
            lambda row: any(use in rooms for use in row.uses) and row.verb not in left_out
        )
        use = self.pick([use for use in row.uses if use in rooms])
        noun = NOUNS[self.pick(rooms[use].split())]
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
        hard = (
            "fangen",
            "reparieren",
            "anhalten",
            "aufmachen",
            "zumachen",
            "fahren:rad",
            "bauen",
            "jonglieren",
            "zeichnen",
            "backen",
            "einschalten",
            "ausschalten",
            "fotografieren",
            "schlafen",
            "laufen:eis",
            "fahren:ski",
            "reiten",
            "aufhängen",
            "hacken",
            "tauchen",
            "schwimmen",
            "malen",
        )
        if self.chance(0.25):
            subject = self.people("child", large=False)
            motions = {name: MOTIONS[name] for name in ("klettern", "springen", "kriechen")}
            action = self.motion(motions)
        else:
            row = self.activity(lambda row: row.verb in hard)
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
        name, _, things, prepositions, bases = self.pick(ARRANGEMENTS)
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
        return main_clause(
            thing, predicate
        ), f"{thing.english} {be(many)} {predicate.verb.progressive} {english}"

    def put(self):
        """Eine Frau stellt eine Vase auf den Tisch."""
        subject, predicate = self.people("all", large=False), self.putting()
        return main_clause(subject, predicate), english_clause(subject, predicate)

    def dative_sentence(self):
        """Ein Mädchen gibt dem Pferd einen Apfel. Ein Junge hört der Sängerin zu."""
        subject = self.people("all", large=False)
        predicate = self.giving(subject.noun) if self.chance(0.6) else self.dative(subject.noun)
        return main_clause(subject, predicate), english_clause(subject, predicate)

    def animal(self):
        """An animal and what it does, matched."""
        plural = self.chance(0.3)
        if self.chance(0.35):
            name = self.pick(ANIMAL_MOTIONS)
            who, directions = ANIMAL_MOTIONS[name]
            predicate = self.motion({name: directions})
        else:
            row = self.pick(ANIMAL_ACTIVITIES)
            who = row.who
            still = row.verb in ("sitzen", "stehen", "liegen")
            predicate = self.predicate(row, plural, place=1 if still else 0.5)
        return self.subject(
            self.phrase(self.pick(self.group(who)), plural, adjective=0.6)
        ), predicate

    def animals(self):
        """Ein brauner Hund läuft über die Wiese. Auf dem Bauernhof schläft eine Katze."""
        subject, predicate = self.animal()
        posture = predicate.verb.infinitive in ("sitzen", "stehen", "liegen")
        if predicate.place and not posture and self.chance(0.35):
            bare = predicate._replace(place="", english_place="")
            return main_clause(
                subject, bare, predicate.place
            ), f"{predicate.english_place}, {english_clause(subject, bare)}"
        return main_clause(subject, predicate), english_clause(subject, predicate)

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
                f"{subject.english} {be(subject.plural)} {ADJECTIVES[word]}",
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
        owner = NOUNS[
            self.pick(
                "Mann Frau Junge Mädchen Kind Bauer Nachbar Arzt Großmutter Soldat Lehrerin "
                "Student".split()
            )
        ]
        owner = NounPhrase(owner, DEFINITE, self.adjectives(owner, 0.6))
        german_owner, english_owner = (
            german_noun_phrase(owner, "gen"),
            english_noun_phrase(owner) + "'s",
        )
        if self.chance(0.5):
            names = ("Hund", "Katze", "Pferd", "Esel")
            row = self.pick(
                [row for row in ANIMAL_ACTIVITIES if any(name in row.who.split() for name in names)]
            )
            noun = NOUNS[self.pick([name for name in names if name in row.who.split()])]
            predicate = self.predicate(
                row, place=1.0 if row.verb in ("sitzen", "stehen", "liegen") else 0.5
            )
        else:
            rows = [row for row in ARRANGEMENTS if row[0] != "hängen"]
            name, _, things, prepositions, bases = self.pick(rows)
            noun = NOUNS[self.pick(things.split())]
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
            noun = NOUNS[self.pick("Hund Freund Bruder Schwester Welpe".split())]
            phrase = NounPhrase(noun, possessive, self.adjectives(noun, 0.3))
            with_german = german_prepositional("mit", phrase)
            verb, extra, extra_english, uses = self.pick(
                [
                    ("spielen", "", "", ("park", "play")),
                    ("tanzen", "", "", ("stage", "park")),
                    ("gehen:spazieren", "spazieren", "a walk", ("park", "forest")),
                    ("joggen", "", "", ("park",)),
                    ("schwimmen", "", "", ("water",)),
                ]
            )
            german_place, english_place = self.place(uses) if self.chance(0.6) else ("", "")
            if verb == "schwimmen":
                subject = self.gendered_like(subject)
            with_english = f"with {english_noun_phrase(phrase)}"
            predicate = Predicate(
                VERBS[verb],
                with_german,
                extra,
                f"{extra_english} {with_english}".strip(),
                german_place,
                english_place,
            )
        elif roll < 0.7:
            noun = NOUNS[
                self.pick(
                    "Bruder Schwester Freund Mutter Vater Großmutter Großvater Lehrerin".split()
                )
            ]
            phrase = NounPhrase(noun, possessive, ())
            verb, things = self.pick(
                [
                    ("kaufen", "Geschenk Blume Buch Kuchen"),
                    ("backen", "Kuchen Pizza"),
                    ("malen", "Bild"),
                    ("schreiben", "Gedicht Brief"),
                    ("pflücken", "Rose Apfel Blume"),
                    ("zeichnen", "Bild Landkarte"),
                ]
            )
            thing = NOUNS[self.pick(things.split())]
            thing = NounPhrase(thing, INDEFINITE, self.adjectives(thing, 0.5))
            predicate = Predicate(
                VERBS[verb],
                late=german_prepositional("für", phrase),
                english=f"{english_noun_phrase(thing)} for {english_noun_phrase(phrase)}",
            )
            late = f"{german_noun_phrase(thing, 'acc')} {predicate.late}"
            predicate = predicate._replace(late=late)
        elif roll < 0.85:
            noun = NOUNS[self.pick("Mutter Vater Großmutter Großvater Bruder Freund".split())]
            phrase = NounPhrase(noun, possessive, ())
            tasks = [
                ("Kochen", "cooking"),
                ("Backen", "baking"),
                ("Lesen", "reading"),
                ("Packen", "packing"),
                ("Aufräumen", "cleaning"),
            ]
            task, english_task = self.pick(tasks)
            predicate = Predicate(
                VERBS["helfen"],
                german_noun_phrase(phrase, "dat"),
                f"beim {task}",
                f"{english_noun_phrase(phrase)} with the {english_task}",
            )
        else:
            name = self.pick(["anziehen", "ausziehen", "suchen", "waschen"])
            noun = NOUNS[self.pick(["Jacke", "Mantel", "Pullover", "Schuh", "Handschuh", "Hose"])]
            plural = subject.plural or "pair" in noun.tags
            phrase = NounPhrase(noun, possessive, self.adjectives(noun, 0.5), plural)
            predicate = Predicate(
                VERBS[name], german_noun_phrase(phrase, "acc"), "", english_noun_phrase(phrase)
            )
        return main_clause(subject, predicate), english_clause(subject, predicate)

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
            garment = NOUNS[
                self.pick(
                    ["Hut", "Helm", "Jacke", "Schuh", "Mantel", "Brille", "Handschuh", "Mütze"]
                )
            ]
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
                predicate = self.motion(
                    {name: MOTIONS[name] for name in ("gehen", "laufen", "rennen", "klettern")}
                )
            else:
                row = self.activity(
                    lambda row: row.who == "all" and row.uses and "water" not in row.uses
                )
                predicate = self.predicate(row)
            subject = self.subject(phrase)
        elif roll < 0.7:
            game, english_game = self.pick(
                [
                    ("Schach", "chess"),
                    ("Tennis", "tennis"),
                    ("Basketball", "basketball"),
                    ("Karten", "cards"),
                    ("Fußball", "soccer"),
                ]
            )
            subject = self.people("all", plural=False, large=False)
            rival = self.phrase(self.person("all"), definite=0.3)
            while rival.noun.english == subject.noun.english:
                rival = self.phrase(self.person("all"), definite=0.3)
            predicate = Predicate(
                VERBS["spielen"],
                late=german_prepositional("gegen", rival),
                english=f"{english_game} against {english_noun_phrase(rival)}",
            )
            late = f"{game} {predicate.late}"
            predicate = predicate._replace(late=late)
        else:
            subject = self.people("all", plural=True)
            noun = NOUNS[self.pick(["Feuer", "Tisch", "Brunnen"])]
            around = NounPhrase(noun, self.pick([DEFINITE, INDEFINITE]), self.adjectives(noun, 0.4))
            name = self.pick(["sitzen", "stehen", "tanzen", "rennen"])
            predicate = Predicate(
                VERBS[name],
                late=german_prepositional("um", around),
                english=f"around {english_noun_phrase(around)}",
            )
        return main_clause(subject, predicate), english_clause(subject, predicate)

    def comparison(self):
        """Der Junge in einem roten Hemd ist größer als das Mädchen."""
        word = self.pick(COMPARATIVES)
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
            f"{subject.english} is {COMPARATIVES[word]} than {second.english}",
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
    (3, Writer.weather),
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
