"""Typical texts, written by hand."""

PROMPT = (
    "Tell a short story about a lighthouse keeper who finds a letter addressed to him in a "
    "bottle. Set it on a rocky island in "
    "winter, include a storm and an old rowing boat, and end it with an unexpected visit."
)
PROMPT_IT = (
    "Racconta una breve storia di un guardiano del faro che trova in una bottiglia una lettera "
    "indirizzata a lui. Ambientala su "
    "un'isola rocciosa d'inverno, con una tempesta e una vecchia barca a remi."
)
ENGLISH = (
    "The winter had been long on the island, and Tomas the keeper had not spoken to anyone for "
    "weeks. One morning, after a storm "
    "that shook the lighthouse to its stones, he walked down to the shore and saw a green bottle "
    "between the rocks. Inside was a "
    "letter, and on the letter stood his own name. He read it twice before he understood who had "
    "written it. That night he pulled "
    "the old rowing boat into the shed, lit a fire and waited, for the letter said that somebody "
    "would come. At dawn he heard oars "
    "in the fog, and then a quiet knock at the door. "
)
ITALIAN = (
    "L'inverno era stato lungo sull'isola, e il guardiano del faro non parlava con nessuno da "
    "settimane. Una mattina, dopo una "
    "tempesta che aveva fatto tremare le pietre della torre, scese fino alla riva e vide una "
    "bottiglia verde tra gli scogli. Dentro "
    "c'era una lettera, e sulla lettera stava scritto il suo nome. La lesse due volte prima di "
    "capire chi l'avesse scritta. Quella "
    "notte tirò la vecchia barca a remi nella rimessa, accese il fuoco e aspettò. "
)
FRENCH = (
    "L'hiver avait été long sur l'île, et le gardien du phare ne parlait à personne depuis des "
    "semaines. Un matin, après une tempête "
    "qui avait fait trembler les pierres de la tour, il descendit jusqu'au rivage et vit une "
    "bouteille verte entre les rochers. Il y "
    "avait une lettre dedans, et son nom était écrit sur la lettre. Il la lut deux fois avant de "
    "comprendre. "
)
OFF_TOPIC = (
    "To make a good tomato sauce you need ripe tomatoes, garlic, basil and a little oil. Heat "
    "the oil slowly in a wide pan, add the "
    "garlic and take it out when it turns brown. Then put in the tomatoes, cut in pieces, with "
    "salt and a spoon of sugar, and let "
    "everything cook for half an hour. Stir now and then, and add the basil only when you take "
    "the pan off the fire. "
)
LOOP = "He looked at the sea and he waited for the boat. " * 20
GIBBERISH = (
    "ploring decay vitamins qvest ulnar Drescu ferentially mosaicite hydronym glimpsewise zorbed "
    "antifluct breviar snorl tectopia "
    "kwaster opulentor mirrage drossel fenkt uvulaxis prantic wolumbre stiggar nebulonk creptide "
    "yallowen fosperil trundex quorbit "
)
SALAD = (
    "of the sea a in was boat letter to and it he that storm for with on island the by an old "
    "had been from at " * 3
)
CHOREOGRAPHY = (
    "1. Opening hold: the couple faces each other, right hand on the shoulder blade, four beats.\n"
    "2. Natural turn: step forward with the right foot, turn to the right, three beats.\n"
    "3. Close the feet, rise on the toes, and sway to the left, three beats.\n"
    "4. Second natural turn along the side of the room, six beats, head to the left.\n"
    "5. Change of sides: she passes under his raised left arm in four beats.\n"
    "6. Slow walk backward, six beats, and the final bow with the hands joined.\n"
)
POEM = (
    "The lamp upon the rock still turns,\nthough no one sails tonight;\nthe keeper reads, the "
    "candle burns,\nthe snow falls soft and "
    "white.\nA bottle knocked against the stone,\na name upon the page;\nhe who believed himself "
    "alone\nstepped slowly from his cage.\n"
)
