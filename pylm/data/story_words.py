"""The words of the stories: each list from common to rare, so that a corpus has a long tail as real text has.

Words that follow "a" begin with a consonant; no list holds a word twice.
"""

from __future__ import annotations

__all__ = ["BOYS", "GIRLS", "WORDS"]

GIRLS = """
Lily Mia Anna Sara Zoe Emma Nora Ruby Bella Clara Daisy Fern Alice Amy Anita Astrid Beth Bianca Bonnie Carla Cathy
Celia Chloe Cora Dana Dora Edith Elena Eliza Ella Esther Eva Faith Flora Freya Gina Grace Greta Hana Hazel Heidi Helen
Holly Ida Ines Irene Iris Isla Ivy Jade Jane Jenny Joan Joy Judy Julia Kate Kira Lara Laura Leah Lena Lisa Lola Lucy
Luna Maggie Maria Martha Mary Maya Megan Molly Nadia Nelly Nina Olga Olive Paula Pearl Penny Petra Polly Rita Rosa
Rose Sally Selma Sofia Stella Susan Tara Tessa Tina Vera Violet Wanda Wendy Yara Agnes Alma Audrey Becky Brenda
Camilla Carmen Cindy Claudia Constance Cynthia Deborah Delia Denise Doris Eleanor Emily Erica Estelle Eugenia Fiona
Gabriella Gloria Gwen Harriet Henrietta Imogen Ingrid Jasmine Josephine Juliet Katherine Kirsten Lavinia Louisa Lydia
Mabel Margot Marianne Matilda Melissa Mildred Miranda Miriam Nancy Naomi Natalie Ophelia Pamela Priscilla Rachel
Rebecca Roxana Samantha Serena Sheila Sylvia Tamara Thelma Ursula Valerie Veronica Virginia Vivian Winifred Yvonne
Philippa Rosalind Theodora Wilhelmina Cordelia Beatrice Genevieve Guinevere Annabelle Clementine
""".split()
BOYS = """
Tom Ben Sam Tim Max Leo Jack Finn Adam Paul Felix Oscar Aaron Abel Alan Albert Alex Andy Anton Arthur Basil Bill Bob
Boris Bruno Carl Caspar Charlie Chris Cyril Dan Dave Dexter Dylan Eddie Elias Emil Eric Ethan Ezra Frank Fred Gary
Gavin George Gus Hans Harold Harry Henry Hugo Ian Igor Isaac Ivan Jacob Jake James Jason Jim Joe Joel John Jonas Josh
Karl Kevin Kurt Larry Lars Lewis Liam Louis Luke Marco Mark Martin Milo Moses Ned Neil Nick Noah Otto Owen Peter
Philip Ralph Ray Rex Roger Ron Simon Steve Theo Toby Victor Walter Will Zack Alfred Alistair Ambrose Andrew Angus
Anthony Archie Barnaby Benedict Bernard Bertram Bradley Brian Cedric Christopher Clarence Clement Colin Conrad
Cornelius Cuthbert Damian Daniel David Dennis Desmond Dominic Donald Douglas Duncan Edgar Edmund Edward Edwin Ernest
Eugene Ferdinand Francis Gabriel Geoffrey Gerald Gilbert Gordon Graham Gregory Hector Herbert Horace Howard Humphrey
Jasper Jeremy Jerome Jonathan Joseph Julian Kenneth Lawrence Leonard Leopold Lionel Malcolm Matthew Maurice Montgomery
Sebastian Bartholomew Thaddeus Maximilian Zachary Reginald Percival Roderick Vincent
""".split()

# Bars separate words, so that a word may be several.
_LISTS = {
    "animal": (
        "cat|dog|rabbit|fox|bear|mouse|duck|frog|horse|pig|squirrel|turtle|wolf|hen|goat|lamb|hare|badger|beaver|bat"
        "|bee|beetle|bird|boar|buffalo|bull|butterfly|calf|camel|canary|cheetah|chick|chipmunk|cow|crab|cricket"
        "|crocodile|crow|deer|dolphin|donkey|dove|dragon|dragonfly|falcon|ferret|firefly|fish|flamingo|foal|gecko"
        "|gerbil|giraffe|goose|gorilla|grasshopper|hamster|hawk|hedgehog|heron|hippo|jackdaw|jaguar|kangaroo|kitten"
        "|koala|ladybird|leopard|lion|lizard|llama|lobster|lynx|magpie|marmot|mole|monkey|moose|moth|mule|newt|panda"
        "|panther|parrot|partridge|peacock|pelican|penguin|pigeon|pony|porcupine|puffin|puppy|raccoon|rat|raven"
        "|reindeer|robin|rooster|salamander|seagull|seal|sheep|shrew|skunk|snail|snake|sparrow|spider|stork|swallow"
        "|swan|tiger|toad|toucan|weasel|whale|woodpecker|worm|zebra"
    ),
    "trait": (
        "little|small|kind|young|happy|brave|clever|curious|funny|gentle|shy|quiet|proud|silly|lonely|lazy|bashful"
        "|blind|bold|bossy|busy|calm|careful|careless|cautious|charming|cheeky|cheerful|chubby|clumsy|cold|confident"
        "|cosy|cranky|crazy|cunning|dainty|daring|deaf|delicate|devoted|dreamy|faithful|famous|fearless|feeble|fierce"
        "|fluffy|foolish|forgetful|friendly|frosty|fussy|fuzzy|generous|gloomy|graceful|greedy|grumpy|hairy|handsome"
        "|hardworking|helpful|helpless|homeless|hopeful|humble|jolly|joyless|lanky|lively|loud|loyal|lucky|mean|merry"
        "|messy|mighty|mischievous|modest|moody|muddy|mysterious|naughty|neat|nervous|nimble|noble|noisy|nosy|patient"
        "|peaceful|picky|plain|playful|plump|polite|poor|pretty|prickly|puzzled|rare|reckless|restless|rich|rough|rude"
        "|ruthless|scruffy|selfish|serious|shabby|shaggy|sharp|short|skinny|sleek|sleepless|slender|slim|slow|sly"
        "|smart|smiling|soft|spotted|steady|stern|stout|strange|strict|striped|strong|stubborn|sturdy|swift|talented"
        "|talkative|tall|tender|thin|thoughtful|timid|tiny|tough|trusty|wandering|wary|weak|whiskered|wild|wise|witty"
        "|wonderful|worn"
    ),
    "place": (
        "forest|park|river|garden|lake|farm|hill|beach|village|field|meadow|pond|barn|market|mill|bridge|cave|attic"
        "|backyard|bakery|balcony|bay|bog|brook|building|bus stop|camp|canal|canyon|castle|cellar|chapel|church|circus"
        "|city|classroom|cliff|clearing|coast|cottage|courtyard|creek|crossroads|dairy|dam|desert|ditch|dock|dunes"
        "|factory|fairground|ferry|forge|fountain|gate|glacier|grove|hall|harbour|hedge|hospital|inn|island|jetty"
        "|jungle|kitchen|lagoon|lane|library|lighthouse|marsh|maze|mine|monastery|moor|mountain|museum|nursery|oasis"
        "|orchard|palace|pasture|path|pier|plain|playground|port|prairie|quarry|railway|ranch|reef|ruin|school|shed"
        "|shipyard|shore|shrine|spring|square|stable|stadium|station|stream|summit|swamp|temple|tent|theatre|tower"
        "|town|tunnel|valley|vineyard|volcano|waterfall|wharf|windmill|wood|workshop|yard|zoo"
    ),
    "thing": (
        "ball|box|book|hat|kite|boat|cake|bell|cup|drum|lamp|ring|map|scarf|basket|blanket|flag|wagon|bag|balloon"
        "|bandage|banjo|bead|belt|bicycle|bonnet|boot|bottle|bow|bowl|bracelet|brick|broom|brush|bucket|button|camera"
        "|candle|cane|cap|cape|card|carpet|cart|chain|chair|chest|clock|coat|coin|collar|comb|compass|cork|crayon"
        "|crown|crystal|cushion|diamond|doll|dress|fan|feather|fiddle|flower|flute|fork|gem|gift|glove|goblet|gown"
        "|guitar|hammer|handkerchief|harp|helmet|hook|hoop|horn|jacket|jar|jewel|jug|kettle|key|knot|ladder|ladle"
        "|lantern|leaf|letter|locket|magnet|marble|mask|mat|medal|mirror|mitten|mug|nail|napkin|necklace|needle|net"
        "|notebook|paddle|pail|paintbrush|pan|parcel|pebble|pen|pencil|pillow|pipe|plate|pocket watch|postcard|pot"
        "|pouch|present|purse|puzzle|quilt|racket|rattle|ribbon|robe|rocket|rope|rug|ruler|saddle|sail|sandal|saw"
        "|scooter|seed|shawl|shell|shield|shoe|shovel|skate|skirt|sled|slipper|sock|spade|spool|spoon|stamp|star"
        "|statue|stick|stocking|stone|stool|suitcase|sweater|sword|teacup|teapot|telescope|ticket|tie|top|torch|towel"
        "|toy|train|tray|treasure|trumpet|tub|vase|vest|violin|wand|watch|whistle|wig|wreath|yo-yo"
    ),
    "colour": (
        "red|blue|green|yellow|white|black|brown|pink|purple|golden|grey|silver|beige|bronze|cherry|chestnut|chocolate"
        "|copper|coral|cream|crimson|dark|glittering|glowing|lavender|lemon|lilac|lime|maroon|mauve|mustard|navy|pale"
        "|peach|plum|rosy|ruby|rusty|sandy|scarlet|shining|shiny|snow-white|sparkling|spotless|sunny|tan|turquoise"
        "|velvet"
    ),
    "weather": (
        "sunny|cold|rainy|windy|warm|snowy|cloudy|foggy|bright|quiet|balmy|beautiful|bitter|blustery|breezy|chilly"
        "|clear|cool|crisp|damp|dark|dewy|drizzly|dry|dull|fine|freezing|fresh|frosty|gloomy|golden|grey|hazy|hot"
        "|humid|mild|misty|moonlit|murky|pale|pleasant|scorching|silent|starry|still|stormy|sultry|thundery|wet|wild"
        "|wintry"
    ),
    "time": ("day|morning|evening|afternoon|night|weekend|holiday"),
    "feeling": (
        "sad|tired|hungry|afraid|angry|lost|bored|sleepy|worried|unhappy|alarmed|alone|anxious|ashamed|awkward"
        "|bewildered|bitter|broken|confused|cross|crushed|dazed|dejected|desperate|disappointed|discouraged|dizzy"
        "|doubtful|downcast|embarrassed|empty|exhausted|faint|fearful|frantic|frightened|frustrated|furious|gloomy"
        "|grumpy|guilty|heartbroken|helpless|homesick|hopeless|hurt|ill|impatient|jealous|jittery|lonely|lonesome|mad"
        "|miserable|nervous|numb|offended|overwhelmed|panicky|puzzled|regretful|restless|scared|shaken|shocked|sick"
        "|sorrowful|sorry|speechless|startled|stunned|sulky|tearful|tense|terrified|thirsty|timid|troubled|uneasy"
        "|unlucky|unsure|upset|weary|wretched"
    ),
    "joy": (
        "happy|glad|proud|excited|joyful|pleased|grateful|thankful|amazed|amused|brave|bright|calm|carefree|charmed"
        "|cheerful|comfortable|contented|delighted|eager|ecstatic|elated|enchanted|fearless|fortunate|giddy|gleeful"
        "|hopeful|jolly|jubilant|light-hearted|lively|loved|lucky|merry|moved|overjoyed|peaceful|playful|radiant"
        "|refreshed|relaxed|relieved|rested|safe|satisfied|serene|strong|surprised|thrilled|touched|welcome"
    ),
    "hobby": (
        "play games|sing songs|run|swim|dance|draw pictures|read stories|climb trees|count stars|tell jokes|bake bread"
        "|blow bubbles|build castles|carve wood|chase butterflies|chop wood|clap hands|collect shells|cook dinner"
        "|daydream|dig holes|do cartwheels|do magic|dream|explore|feed pigeons|fish|fly kites|garden|gather berries"
        "|giggle|go camping|go sailing|hike|hop|hum tunes|invent machines|juggle|jump|kick stones|knit socks|laugh"
        "|learn poems|listen to music|look at clouds|make lemonade|make music|make pottery|march|mend shoes|nap|paint"
        "|pick flowers|plant seeds|plan adventures|play cards|play chess|play football|play hide and seek"
        "|play the piano|practise juggling|race|recite poems|rest|ride|ride bicycles|roller skate|row|sew|skate|skip"
        "|sketch|sleep|slide|solve riddles|spin|splash|stitch|study maps|sweep leaves|swing|talk|tame birds"
        "|throw snowballs|tidy up|travel|trade stamps|walk|wander|watch birds|watch the sunset|wave at trains"
        "|weave baskets|whistle|whisper secrets|wrestle|write letters|yawn and stretch"
    ),
    "food": (
        "apples|bread|cookies|soup|honey|nuts|cheese|berries|carrots|pears|almonds|apricots|bananas|beans|biscuits"
        "|broccoli|broth|buns|butter|cabbage|candy|cereal|cherries|chestnuts|chocolate|corn|crackers|cream|cucumbers"
        "|cupcakes|dates|doughnuts|dumplings|eggs|figs|fudge|garlic|ginger|grapes|ham|hazelnuts|ice cream|jam|jelly"
        "|kale|leeks|lemons|lentils|lettuce|mangoes|marmalade|melons|milk|muffins|mushrooms|noodles|oats|olives"
        "|omelettes|onions|oranges|pancakes|parsley|pasta|pastries|peaches|peanuts|peas|peppers|pickles|pies"
        "|pineapples|pizza|plums|popcorn|porridge|potatoes|pretzels|pudding|pumpkins|radishes|raisins|rice|rolls|salad"
        "|sandwiches|sausages|scones|spinach|stew|strawberries|sugar|tarts|tea|toast|toffee|tomatoes|turnips|waffles"
        "|walnuts|watermelons|yoghurt"
    ),
    "landmark": (
        "rock|bush|tree|fence|old well|hollow log|tall grass|leaves|wall|bench|barrel|bed|bin|birdhouse|boulder"
        "|bramble|branches|bricks|bushel|cabin|cabinet|carriage|cartwheel|chimney|cobwebs|column|cradle|crate|cupboard"
        "|curtains|desk|doorstep|drawer|dresser|fallen oak|ferns|fireplace|flowerbed|flowerpot|furnace|gravel|gutter"
        "|hammock|hay|haystack|heather|hut|ivy|kennel|larder|lilies|loft|logs|mailbox|manger|mattress|moss|mud|nest"
        "|nettles|oven|pantry|pile of wood|pine|planks|platform|poppies|porch|post|pump|puddle|rails|railing|reeds"
        "|roof|roots|rose bush|rubble|sacks|sand|scarecrow|shelf|shelter|sign|sink|snow|sofa|stairs|steps|stove|straw"
        "|stump|sundial|table|thistles|thorns|trough|trunk|turf|wardrobe|weeds|wheel|wheelbarrow|willow|window"
        "|woodpile"
    ),
    "near": (
        "under the|behind the|next to the|near the|beside the|beneath the|in front of the|close to the|below the"
        "|beyond the|not far from the"
    ),
    "virtue": (
        "being kind|sharing|helping a friend|being honest|saying sorry|never giving up|being patient|asking for help"
        "|being brave|being careful|being fair|being gentle|being grateful|being humble|being loyal|being polite"
        "|being true|caring|cheering somebody up|cleaning up|comforting others|doing the right thing|forgiving|giving"
        "|holding on|hoping|keeping calm|keeping a promise|keeping a secret|learning from mistakes|listening"
        "|looking after others|loving|making peace|saying thanks|staying together|taking turns|telling the truth"
        "|thinking twice|trusting a friend|trying again|waiting|working hard|working together"
    ),
    "adverb": (
        "quietly|softly|loudly|sadly|slowly|gently|bravely|kindly|politely|nervously|calmly|shyly|wisely|gladly"
        "|cheerfully|warmly|eagerly|hopefully|thoughtfully|carefully|patiently|firmly|boldly|brightly|briskly|sweetly"
        "|tenderly|hoarsely|meekly|weakly|timidly|tearfully|gravely|solemnly|seriously|sternly|swiftly|suddenly|simply"
        "|sincerely|quickly|proudly|promptly|playfully|plainly|merrily|miserably|hastily|gratefully|gloomily|frankly"
        "|fondly|faintly|earnestly|dreamily|doubtfully|desperately|crossly|coolly|courageously|clearly|bluntly"
        "|bitterly|anxiously|angrily"
    ),
    "moved": (
        "walked|ran|hurried|went|wandered|raced|marched|climbed|crept|crawled|dashed|drifted|galloped|headed|hiked"
        "|hobbled|hopped|jogged|journeyed|jumped|leapt|limped|paddled|plodded|rambled|returned|rode|rowed|rushed"
        "|sailed|scurried|shuffled|skipped|sprinted|strolled|swam|tiptoed|travelled|trotted|trudged"
    ),
}
WORDS: dict[str, list[str]] = {kind: text.split("|") for kind, text in _LISTS.items()}
