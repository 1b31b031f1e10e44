"""Closed classes of English words: all that the merger knows of the language. Any other word is open-class.

The lists hold grammar and general vocabulary: function words, colours, numbers, sizes, places, common verbs of
captions. None is taken from a corpus or from the picture book, so that any English captions can be merged.
"""


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


_set = word_set


def _classes(*lines: str) -> dict[str, str]:
    """Map every word of a line to the line's first word. Compounds keep their underscores."""
    return {word: line.split()[0] for line in lines for word in line.split()}


# --- Function words -------------------------------------------------------------------------------------------------
ARTICLES = _set("a an the")
POSSESSIVES = _set("his her its it's their my your our whose")
DETERMINERS = ARTICLES | POSSESSIVES | _set("this that these those another each every all both no")
PREPOSITIONS = _set(
    "of on in at to with near by next_to beside besides behind under below beneath underneath above over atop "
    "on_top_of inside into onto in_front_of to_the_left_of to_the_right_of left_of right_of on_the_left_of "
    "on_the_right_of on_the_side_of at_the_side_of through across along around against between among amongst from for "
    "during towards toward past beyond outside_of inside_of out_of off up_to within without alongside amid about "
    "close_to near_to upon via like out_on off_of down_from up_on in_between surrounded_by full_of filled_with "
    "covered_with covered_in covered_by topped_with made_of because_of in_the_middle_of in_the_center_of "
    "at_the_top_of on_the_edge_of"
)
ADVERBS = _set(
    "up down out away back together nearby outside inside outdoors indoors ahead alone overhead here there now very "
    "too also just still so quite really upside downhill uphill high low forward backwards sideways apart well almost "
    "only even alike upright upwards downwards aboard abroad afar once again around_it along_side else not"
)
PRONOUNS = _set(
    "it them they he she him i we us you me himself herself itself themselves each_other one_another "
    "something anything everything nothing everyone everybody anybody nobody none others other_people what"
)
COMPOUNDS = frozenset(word for word in PREPOSITIONS | PRONOUNS if "_" in word)
CLAUSE_WORDS = _set(
    "that which who whom whose where when while as because if though although so_that until before after"
)
CONJUNCTIONS = _set("and or but nor plus")
COPULAS = _set("is are was were be been being am 's're")
AUXILIARIES = COPULAS | _set("has have had having do does did can could will would may might must shall should")
# These words point back to another part of the caption, so such a caption is merged whole or not at all.
REFERRING = _set(
    "it them they he she him himself herself itself themselves others each_other one_another that which who its"
)

# --- Adjectives of a class: two of one class on one noun contradict each other ----------------------------------------
COLOURS = _classes(
    "red", "orange", "yellow", "green", "blue", "purple violet", "pink", "brown", "black", "white", "gray grey",
    "tan beige khaki", "gold golden", "silver", "turquoise teal", "maroon", "navy", "blond blonde", "cream",
    "crimson scarlet", "magenta", "lavender lilac",
)  # fmt: skip
SIZES = _classes(
    "small little tiny miniature mini petite smaller",
    "large big huge giant enormous massive oversized gigantic larger great",
)
AGES = _classes("young teenage", "old elderly older aged", "baby newborn infant", "adult grown mature", "middle-aged")
SHAPES = _classes("round circular", "square", "rectangular", "oval", "triangular")
MATERIALS = _classes(
    "wooden wood", "metal metallic steel iron", "plastic", "glass", "brick", "stone rock", "concrete cement", "leather",
    "paper", "marble", "tiled tile", "stainless",
)  # fmt: skip
STATES = _classes("empty bare vacant", "full crowded busy", "open", "closed shut", "toy stuffed fake", "real live",
                  "wet", "dry", "clean", "dirty muddy messy", "tall high long", "short low", "whole", "sliced cut",
                  "striped", "spotted", "plaid", "furry hairy", "bald", "happy", "sad angry",
                  "new modern", "antique vintage", "male", "female")  # fmt: skip
OPPOSITE_STATES = (
    _set("empty full"), _set("open closed"), _set("toy real"), _set("wet dry"), _set("clean dirty"), _set("tall short"),
    _set("whole sliced"), _set("striped spotted plaid"), _set("furry bald"), _set("happy sad"), _set("new antique"),
    _set("male female"),
)  # fmt: skip
ADJECTIVES: dict[str, tuple[str, str]] = {
    word: (kind, value)
    for kind, members in (
        ("state", STATES), ("size", SIZES), ("age", AGES), ("shape", SHAPES), ("material", MATERIALS),
        ("colour", COLOURS),
    )
    for word, value in members.items()
}  # fmt: skip
PLAIN_ADJECTIVES = _set(
    "clear crowded beautiful pretty nice cute lovely fancy colorful colourful bright shiny dark light plain simple "
    "good great fresh different various other same own many several few single double lone professional traditional "
    "wild hot cold warm asian american european african-american native dressed sunny cloudy snowy rainy foggy grassy "
    "sandy rocky dirt lush busy quiet public local urban rural outdoor indoor main electric delicious ripe raw frozen "
    "thin thick wide narrow deep shallow soft hard heavy fluffy steep flat curly straight strange odd unusual "
    "interesting attractive handsome"
)
INTENSIFIERS = _set("very really quite extremely so too bright dark light pale deep")

# --- Numbers ----------------------------------------------------------------------------------------------------------
NUMBERS = {"one": 1, "single": 1, "lone": 1, "another": 1, "each": 1, "two": 2, "both": 2, "pair": 2, "couple": 2} | {
    word: count for count, word in enumerate("three four five six seven eight nine ten eleven twelve".split(), start=3)
}
MANY = 99  # "several", "a group of": more than two, number unknown
MANY_WORDS = _set("several many various multiple numerous some few lots dozens hundreds")
COLLECTIVES = _set("group bunch crowd herd flock lot number row line pile stack collection set team variety assortment "
                   "array cluster pack series family gathering host fleet swarm school")  # fmt: skip
PAIRS = _set("pair couple")

# --- Nouns ------------------------------------------------------------------------------------------------------------
IRREGULAR_PLURALS = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "knives": "knife", "leaves": "leaf", "shelves": "shelf", "wolves": "wolf",
    "loaves": "loaf", "halves": "half", "wives": "wife", "lives": "life", "oxen": "ox", "policemen": "policeman",
    "firemen": "fireman", "workmen": "workman", "businessmen": "businessman", "ladies": "lady", "scarves": "scarf",
    "calves": "calf",
}  # fmt: skip
SAME_IN_PLURAL = _set(
    "sheep fish deer moose bison scissors pants shorts jeans skis glasses sunglasses clothes aircraft tongs "
    "headphones trousers stairs series species"
)
ENDS_IN_S = _set(
    "bus glass grass dress cross boss class mess pass moss brass mattress tennis bass gas lens canvas christmas atlas "
    "cactus circus campus iris chess wilderness princess waitress actress business compass octopus walrus citrus "
    "hummus asparagus harness fortress address process across tuxedos texas always paris swiss is was has this his "
    "its as us plus"
)
SYNONYMS = _classes(
    "person someone somebody individual", "man guy gentleman male fellow dude", "woman lady female",
    "child kid toddler youngster", "couch sofa loveseat", "bicycle bike",
    "airplane plane aeroplane jet airliner aircraft", "television tv", "phone cellphone telephone",
    "motorcycle motorbike", "donut doughnut", "refrigerator fridge", "car automobile", "street road roadway",
    "sea ocean", "forest woods wood", "meadow field pasture", "photo picture photograph image", "mirror", "stone rock",
    "rug carpet", "bunny rabbit", "cup mug", "flower blossom bloom", "racket racquet", "trash garbage",
    "computer laptop", "store shop", "suitcase luggage", "ship vessel", "grass lawn", "hill hillside", "beach seashore",
    "hotdog", "stove oven", "puppy pup", "kitten kitty", "tub bathtub", "mountain mountainside", "sidewalk pavement",
)  # fmt: skip
BROADER = {  # a word and the broader one that it implies: "a man" is "a person"
    **dict.fromkeys("man woman child boy girl baby adult player surfer skier rider worker skateboarder snowboarder "
                    "batter catcher pitcher officer policeman fireman chef cook student soldier couple".split(),
                    "person"),
    **dict.fromkeys("dog cat horse cow sheep elephant giraffe zebra bear bird lion tiger goat".split(), "animal"),
    **dict.fromkeys("car truck bus van motorcycle".split(), "vehicle"),
    "puppy": "dog", "kitten": "cat", "cottage": "house", "sailboat": "boat", "rowboat": "boat",
}  # fmt: skip
PEOPLE_WORDS = _set(
    "person man woman child boy girl baby player surfer skier snowboarder skateboarder rider worker batter catcher "
    "pitcher officer policeman fireman chef cook student soldier bride groom teenager swimmer cyclist biker bicyclist "
    "motorcyclist climber runner dancer musician singer guitarist artist painter fisherman businessman cowboy waiter "
    "umpire athlete golfer performer driver pedestrian hiker boarder parent mother father son daughter brother sister "
    "husband wife friend boyfriend girlfriend gymnast wrestler boxer vendor lifeguard farmer teacher clown goalie"
)
VAGUE_PEOPLE = _set("person someone somebody individual people adult")
# Words that look like verbs and are nouns or adjectives in captions.
ING_NOUNS = _set("building painting clothing ceiling wedding evening morning railing string ring king thing wing swing "
                 "icing frosting crossing topping lighting spring living dining clothing bedding seasoning stuffing "
                 "dressing string sling sibling pudding herring awning flooring covering landing opening")  # fmt: skip
ED_NOUNS = _set(
    "red bed shed seed weed bread head food wood hundred sled speed reed field hybrid biped thread feed need moped "
    "naked wicked kindred"
)

# --- Verbs: base forms that captions use in the third person ----------------------------------------------------------
VERBS = _set(
    "sit stand ride hold play walk lay lie look eat wear jump fly run drive swing hit stop carry show take make do "
    "get lean rest pose watch smile use drink sleep hang swim skate ski surf surfboard perform prepare cut cook "
    "travel move pull push throw catch kick reach cross pass head go come try attempt wait talk work read write sing "
    "dance climb grill graze stare gaze float sail land rise feed brush cover fill surround display feature contain "
    "include turn stretch kneel crouch crawl bend dig sniff lick chase chew bite bathe wash clean shower sweep paint "
    "draw build face point peer peek laugh cry yell kiss hug greet wave gather rake shop sell buy serve pour stir "
    "bake slice chop pet ascend descend slide roll spin balance leap dive splash paddle row kayak fish hike bike "
    "skateboard snowboard race compete celebrate cheer clap shoot aim dribble bounce grab pick place put set leave "
    "enter exit board approach follow lead help teach study type speak listen enjoy relax lounge nap snuggle cuddle "
    "yawn blow drop fall break hurdle wrestle box practice practise strike tie dress adjust inspect examine "
    "photograph appear seem loom tower overlook adorn decorate flip twist grind ollie scratch squat nurse nuzzle "
    "browse roam wander stroll march skip hop trot gallop jog speed cruise soar glide hover taxi sprint squint smell "
    "taste open close shine glow"
)
# Plurals that are more often nouns than verbs: a verb only before an article or a possessive.
NOUNS_FIRST = _set("leaves heads faces waves parks rows lines places points hands boats pots")
DOUBLING = _set(
    "sit run swim cut get hit stop put set jog grab chop pet nap hug spin skip hop trot dig flip drop clap shop squat "
    "ship slip step wrap strum grin"
)
IRREGULAR_PARTICIPLES = _set(
    "seen held made shown worn built cut laid lit taken eaten driven ridden drawn written hung put set caught thrown "
    "stuck spread bent broken hidden tied dug fed led left lain sat stood flown grown blown known given done gone "
    "spun swung torn hurt"
)
# After these verbs "up" and "down" are prepositions; after others they belong to the verb ("holding up a cup").
MOTIONS = _set(
    "walk ride drive go run climb ski travel move come roll slide skate head skateboard snowboard race wheel"
)
# Verbs so general that two subjects may share one in the same picture.
POSING = _set("sit stand lie lay park be have fill cover top go come")
# Verbs that a subject can do beside any other.
ACCOMPANYING = _set(
    "wear hold carry look watch smile face stare gaze feature contain include surround cover top decorate dress show "
    "display have paint attach fill line"
)
POSTURES = {  # a subject has one at a time
    form: posture
    for posture, stems in {
        "sit": "sit", "stand": "stand", "lie": "lie lay", "walk": "walk stroll", "run": "run sprint jog",
        "fly": "fly soar", "swim": "swim", "jump": "jump leap", "sleep": "sleep nap", "ride": "ride", "surf": "surf",
        "ski": "ski", "snowboard": "snowboard", "skateboard": "skateboard skate", "eat": "eat", "drink": "drink",
        "drive": "drive", "kneel": "kneel crouch squat", "climb": "climb", "hang": "hang", "float": "float",
        "park": "park", "sail": "sail", "swing": "swing", "hit": "hit", "throw": "throw pitch", "catch": "catch",
        "graze": "graze", "dance": "dance",
    }.items()
    for form in stems.split()
}  # fmt: skip

# --- Place and time: a scene has one of each kind ---------------------------------------------------------------------
OUTDOORS, INDOORS = "outdoors", "indoors"
PLACES: dict[str, str] = _classes(
    "beach sand seashore shore coast", "sea ocean water", "lake pond river stream", "harbor harbour marina dock pier",
    "pool", "snow snowy", "street road highway intersection roadway crosswalk town city downtown",
    "sidewalk pavement", "field grass meadow pasture lawn grassy savanna savannah grassland",
    "forest woods jungle", "park", "desert",
    "mountain cliff", "yard backyard garden", "farm barn", "airport runway tarmac", "station platform", "zoo",
    "stadium court ballpark", "skatepark",
    "kitchen", "bathroom restroom", "bedroom", "office", "restaurant cafe diner", "store supermarket", "classroom",
    "church", "museum", "gym", "library", "garage", "hallway", "hotel", "living_room", "dining_room",
)  # fmt: skip
INDOOR_PLACES = _set(
    "kitchen bathroom bedroom office restaurant store classroom church museum gym library garage hallway hotel "
    "living_room dining_room"
)
INDOOR_WORDS = _set("room indoors indoor ceiling") | INDOOR_PLACES
OUTDOOR_WORDS = _set("outdoors outdoor outside sky")
# If a caption names no place, the things in it tell whether it is indoors or outdoors.
INDOOR_THINGS = _set(
    "bed toilet sink stove refrigerator microwave tub shower couch desk fireplace carpet cabinet blender toaster "
    "dishwasher television nightstand dresser pillow shelf"
)
OUTDOOR_THINGS = _set(
    "train bus truck airplane boat ship surfboard wave ski snowboard skateboarder surfer skier snowboarder kite "
    "elephant giraffe zebra lion cow horse sheep goat deer hydrant traffic sidewalk car motorcycle moped scooter "
    "skyscraper building fence parachute baseball batter pitcher"
)
SIDE_ADVERBS = _set("indoors outdoors outside inside")
SETTING_ONLY = _set("sky room background scene day night ground outdoors indoors outside")  # settings of no kind above
TIMES = _classes(
    "day daytime sunny noon afternoon daylight morning",
    "night nighttime evening midnight",
    "sunset dusk",
    "sunrise dawn",
)
WEATHER = _classes(
    "sunny clear sunshine", "rain rainy raining storm stormy", "cloudy overcast", "fog foggy misty", "snowing"
)
EMPTY_WORDS = _set(
    "there picture photo photograph image view shot see seen shown here be is are has have this that scene"
)
VOWEL_EXCEPTIONS = _set("hour honest honor herb")  # "an hour"
CONSONANT_EXCEPTIONS = _set("one once unicycle uniform unique university united used user useful european unit unicorn "
                            "utility usual unisex")  # fmt: skip

# A thing near a place need not be in it.
NEARNESS = _set("near next_to beside by along alongside close_to near_to toward towards past from of with like about")
# Relations between two things that say more than nearness: two different relations contradict each other.
RELATIONS = _classes(
    "on atop on_top_of onto upon", "under below beneath underneath", "above over", "behind", "in_front_of",
    "to_the_left_of left_of on_the_left_of", "to_the_right_of right_of on_the_right_of",
    "in inside into inside_of within", "between", "without", "outside outside_of",
)  # fmt: skip
