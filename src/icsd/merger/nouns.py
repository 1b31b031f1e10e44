"""Classes of nouns and verbs for the merger's doubts: which words may mean the same thing, which need an article."""

from icsd.merger.inflection import stem
from icsd.merger.words import PEOPLE_WORDS, VERBS
from icsd.merger.words import word_set as _set

# --- Kinds of things: two nouns of one kind may be one thing in other words -------------------------------------------
PERSON, ANIMAL = "person", "animal"
_KINDS = {
    PERSON: "couple guest guy lady crowd team family audience band people toddler infant kid teen adult passenger "
    "spectator fan tourist pilot crew nurse doctor model actor kiteboarder windsurfer equestrian jockey "
    "trick figure hand face head arm leg group bunch gathering patron customer pedestrian commuter "
    "adolescent senior elder monk priest sailor captain guard guitarist drummer speaker reporter referee "
    "competitor contestant opponent racer hockey basketball soccer football tennis baseball class "
    "wakeboarder shopper diner bystander onlooker leader",
    ANIMAL: "dog cat horse cow sheep elephant giraffe zebra bear bird lion tiger goat animal puppy kitten pony "
    "donkey mule bull calf lamb duck goose swan pigeon seagull gull parrot owl eagle hawk chicken rooster "
    "monkey deer cattle livestock herd flock terrier retriever shepherd poodle hound feline canine pet "
    "bunny squirrel fox wolf panda cub ostrich peacock flamingo pelican crane turtle frog snake whale "
    "dolphin seal otter ram ox bison buffalo camel",
    "vehicle": "car truck bus van motorcycle vehicle taxi cab train locomotive engine tram trolley motorbike bicycle "
    "scooter moped bike subway railroad coach minivan suv jeep pickup trailer tractor cart wagon carriage "
    "traffic streetcar railway freight double-decker transit",
    "aircraft": "airplane helicopter airline jetliner biplane glider bomber fighter",
    "food": "food pizza sandwich meal dish breakfast lunch dinner dessert cake pie donut pastry cookie bread "
    "toast bun burger hamburger hotdog dog fries pasta noodle spaghetti salad soup stew rice meat chicken "
    "beef steak pork ham bacon sausage egg omelet fruit apple banana orange pear grape berry strawberry "
    "lemon lime vegetable broccoli carrot potato tomato onion pepper mushroom bean corn cheese cream "
    "snack slice piece topping sauce entree platter plate bowl tray pan serving assortment bagel "
    "croissant muffin cupcake waffle pancake burrito taco wrap sushi seafood shrimp salmon produce veggie "
    "veggies hot_dog chili cuisine crust pepperoni",
    "drink": "drink beverage coffee tea beer wine juice milk glass bottle can",
    "room": "room kitchen bathroom restroom bedroom living_room dining_room office lounge lobby hall hallway "
    "space interior washroom toilet urinal stall sink shower tub bathtub counter countertop cabinet "
    "appliance stove oven refrigerator microwave furniture couch bed chair table desk dresser bench seat "
    "suite apartment studio wall floor window curtain fireplace vanity mirror lavatory commode "
    "cupboard bidet loveseat sofa ottoman",
    "computer": "computer laptop monitor screen keyboard desktop mouse television phone device pc",
    "sign": "sign signal stoplight post pole signpost lamp streetlight light",
    "building": "building tower church clock steeple skyscraper structure castle cathedral bridge station monument "
    "statue sculpture fountain facade",
    "board": "surfboard skateboard snowboard ski board",
    "ground": "mall cafe restaurant "
    "corner area neighborhood village countryside slab rock ledge cliff street road city town sidewalk "
    "intersection highway lane crosswalk block avenue downtown alley alleyway square plaza parking_lot "
    "lot freeway overpass bridge boardwalk canal tunnel driveway walkway path field grass meadow pasture "
    "hill mountain slope beach sea ocean wave lake river shore park forest snow sky trail track plain "
    "enclosure pen zoo court stadium ramp rail skatepark landscape airport runway harbor dock pier water "
    "pond surf yard lawn",
    "toy": "teddy doll toy bear",
    "clothing": "t-shirt tank_top top sweater sweatshirt hoodie blouse skirt robe apron gown shirt tie suit dress hat "
    "jacket coat pants shorts jeans uniform outfit helmet cap glasses costume clothes clothing scarf "
    "glove shoe boot wetsuit vest",
    "ball": "ball",
    "kite": "kite",
    "tree": "tree",
    "house": "house",
    "boat": "boat ship canoe kayak raft yacht ferry",
    "umbrella": "umbrella parasol",
    "book": "book magazine newspaper",
    "bag": "bag backpack purse suitcase luggage handbag",
    "hydrant": "hydrant",
    "vase": "vase bouquet arrangement centerpiece rose tulip daisy",
}
KINDS: dict[str, str] = {}
for _kind, _members in _KINDS.items():
    for _word in _members.split():
        KINDS.setdefault(_word, _kind)
KINDS |= dict.fromkeys(PEOPLE_WORDS, PERSON)

# --- Articles and number ----------------------------------------------------------------------------------------------
SINGULAR_ONLY = _set("a an another one this that each every single lone")
PLURAL_STARTS = _set("several many various multiple numerous few both these those dozens")
PLURAL_ONLY = _set("people men women children cattle pants jeans shorts skis scissors trousers clothes")
MASS = _set(
    "food water grass snow sand dirt mud ice rain smoke fire furniture luggage equipment gear traffic fruit meat "
    "bread cheese rice pasta soup salad broccoli corn beef bacon ham pork seafood cake pizza coffee tea beer wine "
    "juice milk sauce cream frosting icing wood metal glass paper plastic stone brick concrete leather clothing "
    "lettuce asparagus spaghetti chicken cattle wheat hay straw gravel graffiti paint tennis baseball soccer "
    "football basketball frisbee volleyball hockey golf rugby lacrosse polo cricket wii silverware china produce "
    "merchandise art jewelry garbage trash laundry debris rubble ground air shade sunlight front"
)
MAY_BE_BARE = MASS | _set("town downtown sea night bed") | _set("people")
PLURAL_ATTRIBUTES = _set("sports tennis glass grass brass bass bus clothes arts goods sales christmas news")

# --- Verbs and odd words ----------------------------------------------------------------------------------------------
NOUN_LIKE = _set(
    "board stop stand ride show cover race park cut dress kayak fish hike bike play swing slide drink cross point "
    "face pick place put paint travel drive head top pet box tie brush grill pitch row jump run catch shower shop "
    "display stretch talk paddle exit lead lounge drop light"
)
VERB_LIKE = VERBS - NOUN_LIKE | _set(
    "perch amble dash lunge prance struggle struggles winds greet lounge roams huddle gallop trots flies tries lies "
    "goes does looks seems appears wades frolics frolic wade cling peers await awaits"
)
PAST_TENSES = _set(
    "marched walked jumped performed traveled travelled played talked smiled laughed ran rode sat slept ate drank "
    "arrived wore won lost fell flew went came took made gave got held said told left scored celebrated posed looked "
    "watched waited worked lived loved wanted tried decided returned happened began started ended"
) - _set("made held left posed")
ODD_WORDS = (
    _set(
        "it's ones same another right during because_of via about like etc im thats theres its' s t something "
        "anything everything nothing someone's others other_people what whose none nobody no not without "
        "another's else too also even only just still quite almost so however actually really around_it once "
        "already soon ever yet apparently probably perhaps maybe bc various-sized thing things stuff item "
        "items object objects way kind type sort lot lots number unknown called named titled entitled reading "
        "saying depicting showing illustrating describing"
    )
    | PAST_TENSES
)
TRANSITIVE = _set(
    "holding wearing carrying using making taking throwing hitting putting pulling pushing having doing getting "
    "giving showing featuring containing including covering surrounding attempting trying preparing holds"
)
# Verbs that only a resting subject does beside another: "sitting on a bench and looking at a dog".
WATCHING = frozenset(map(stem, "look watch stare gaze face".split()))
RESTING = frozenset(map(stem, "sit stand lie lay lean kneel squat crouch rest pose lounge".split()))
HOLDING = frozenset(map(stem, "hold carry".split()))
STROLLING = frozenset(map(stem, "walk stroll smile".split()))
WORN = frozenset(word for word, kind in KINDS.items() if kind == "clothing") | _set(
    "hair beard mustache moustache mane tail tusk horn wing ear"
)
GLUED = _set("double triple multi hot polar teddy twin ice two-story")  # no adjective comes between these and the noun
# Prepositions that another one may follow: "out on", "up to".
# Prepositions of a part that can be added to what another caption says.
ADDING_PREPOSITIONS = _set(
    "on in at near next_to beside behind in_front_of under beneath below over above with along down through across "
    "against inside outside by on_top_of atop between among"
)
LEADING_PREPOSITIONS = _set("out up down off away in_front next inside outside from")
UNCLEAR_OWNERS = _set("its their it them they theirs one ones other others")  # of whom, in another caption?
STILL_VERBS = frozenset(stem(verb) for verb in ("stand", "see", "seen"))
