"""Words of generated documents: few and short ones for small pictures, and those that real documents have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from trialbook_plugins.datasets._documents_sheets import Entry, Words

Value = Callable[[Random], str]

#: Colours that can be told apart, as pixels.
COLOURS = {
    "red": (214, 40, 40), "green": (34, 150, 68), "blue": (38, 84, 214), "yellow": (250, 206, 30), "purple": (142, 54, 176),
    "orange": (246, 128, 24),
}  # fmt: skip


def _one_of(*texts: str) -> Value:
    return lambda rng: rng.choice(texts)


def _whole(low: int, high: int, shape: str = "{}") -> Value:
    return lambda rng: shape.format(rng.randint(low, high))


def _money(low: int, high: int) -> Value:
    return lambda rng: f"${rng.randint(low * 100, high * 100) / 100:,.2f}"


def _date(rng: Random) -> str:
    months = ("January", "February", "March", "April", "May", "June", "July", "August", "October", "November")
    return f"{rng.randint(1, 28)} {rng.choice(months)} {rng.randint(1996, 2029)}"


def _code(shape: str) -> Value:
    """``A`` in ``shape`` becomes a letter, ``0`` a digit."""
    letters = {"A": "ABCDEFGHJKLMNPRSTUVWXYZ", "0": "0123456789"}
    return lambda rng: "".join(rng.choice(letters[one]) if one in letters else one for one in shape)


def _fixed(_: Random) -> str:
    return ""  # of toggles: whether they are on is drawn for all of them together


def _named(names: str, value: Value = _fixed, look: str = "text") -> tuple[Entry, ...]:
    return tuple(Entry(name, value, look) for name in names.split(", "))  # type: ignore[arg-type]


def _choice(name: str, *texts: str, counted: bool = False) -> Entry:
    return Entry(name, _one_of(*texts), "text", texts if counted else ())


_BELOW = ("What is below the {row}?",)

#: Kind of document -> words for pictures of about 64 pixels; no two of a sort begin with the same letter.
EASY: Mapping[str, Words] = {
    "form": Words(
        {"value-of": ("What color is the {row} of {owner}?",), "position": _BELOW},
        _named("hat, car, ball, desk, pen, key, sock, lamp", _one_of(*COLOURS), "swatch"),
        most=3, owners=("Tom", "Lily", "Ben", "Mia", "Sam", "Anna"),
    ),
    "settings": Words(
        {"yes-no": ("Is the {row} on?",), "count": ("How many are on?",), "position": _BELOW},
        _named("lamp, fan, bell, radio, oven, clock, phone, heat", look="switch"), fewest=3,
    ),
    "table": Words(
        {"value": ("What number is the {row}?",), "largest": ("Which has the largest number?",), "position": _BELOW},
        _named("cat, dog, fish, bird, goat, hen, pig, sheep", _whole(1, 9), "number"), fewest=3,
    ),
    "invoice": Words(
        {"value": ("How much is the {row}?",), "total": ("What is the total?",)},
        _named("apple, cake, milk, egg, tea, bread, rice, soup", _whole(1, 9), "number"), most=3, total=True,
    ),
    "dialog": Words(
        {"yes-no": ("Is the box of {row} ticked?",), "selected": ("Which button is marked?",)},
        _named("sound, game, music, help, light, timer", look="check"), most=2,
        buttons=("ok", "save", "play", "next", "back", "undo"),
    ),
}  # fmt: skip

_PEOPLE = (
    "Alice Moore", "Brian Keller", "Carla Santos", "David Lindqvist", "Elena Petrova", "Farid Haddad", "Grace Okafor",
    "Henry Walsh", "Ingrid Vogel", "James Tanaka", "Karin Jensen", "Luca Romano", "Maria Novak", "Nora Quinn", "Oscar Dubois",
    "Priya Sharma",
)  # fmt: skip
_CITIES = ("Lisbon", "Oslo", "Turin", "Ghent", "Porto", "Leeds", "Graz", "Utrecht", "Lyon", "Krakow", "Malmo", "Bilbao")
_GOODS = (
    "Desk lamp", "Office chair", "Paper A4", "Ink cartridge", "Stapler", "Notebook", "USB cable", "Headset", "Monitor arm",
    "Whiteboard", "Keyboard", "Coffee beans", "Wall clock", "Webcam", "Toner black", "Envelopes",
)  # fmt: skip
_EMAIL = _one_of(
    "mail@example.org", "office@example.com", "contact@example.net", "info@example.org", "team@example.com"
)
_VALUE = ("What is the {row}?", "What does the document give as {row}?", "Which {row} is shown?")
_VALUE_OF = ("What is the {row} of {owner}?", "Which {row} does {owner} have?")
_IS = ("Is the {row} {value}?", "Does the document say that the {row} is {value}?")
_AROUND = ("What is directly below the {row}?", "What stands right under the {row}?")
_CELL = ("What is the {column} of {row}?", "Which {column} does the table give for {row}?")
_CELL_IS = ("Is the {column} of {row} {value}?",)

#: Kind of document -> words as real documents have them, for pictures of 224 pixels and more.
REAL: Mapping[str, Words] = {
    "form": Words(
        {"value": _VALUE, "value-of": _VALUE_OF, "is": _IS, "position": _AROUND},
        (
            Entry("date of birth", _date), Entry("member since", _date), Entry("valid until", _date), _choice("city", *_CITIES),
            _choice("place of birth", *_CITIES), Entry("phone number", _code("+00 000 000000")), Entry("email", _EMAIL),
            Entry("customer number", _code("AA-00000")), Entry("passport number", _code("A00000000")),
            Entry("postcode", _code("00000")), Entry("house number", _whole(1, 199)),
            _choice("occupation", "nurse", "carpenter", "teacher", "chemist", "pilot", "baker", "lawyer", "farmer"),
            _choice("department", "Sales", "Research", "Logistics", "Finance", "Support", "Design"),
            _choice("nationality", "Dutch", "Spanish", "Kenyan", "Polish", "Irish", "Greek", "Chilean", "Indian"),
        ),
        fewest=5, most=9, owners=_PEOPLE, abreast=2,
        titles=("Registration", "Membership form", "Personal record", "Application", "Customer file"),
    ),
    "settings": Words(
        {
            "value": ("What is the {row} set to?", "Which {row} is chosen?"), "yes-no": ("Is {row} on?", "Is {row} switched on?"),
            "count": ("How many switches are on?",),
            "position": ("What is directly below {row}?", "Which entry follows {row}?"),
        },
        (
            *_named(
                "Wi-Fi, Bluetooth, airplane mode, dark mode, location access, notifications, auto-update, night light, mobile "
                "data, battery saver", look="switch",
            ),
            _choice("language", "English", "Deutsch", "Italiano", "Polski", "Suomi", "Magyar"),
            Entry("volume", _whole(1, 10, "{}0 %")), Entry("brightness", _whole(1, 9, "{}5 %")),
            _choice("text size", "small", "medium", "large", "huge"), Entry("sleep timer", _whole(1, 12, "{}5 min")),
            _choice("time zone", *_CITIES), _choice("input device", "Headset", "Webcam", "Line in", "Dock", "Array mic"),
        ),
        fewest=6, most=10, titles=("Settings", "Preferences", "System", "Quick settings", "Options"),
    ),
    "table": Words(
        {
            "cell": _CELL, "cell-is": _CELL_IS, "tally": ("How many rows have the {column} {value}?",),
            "top": ("Which row has the highest {column}?", "What has the highest {column} in the table?"),
        },
        items=(*_CITIES, *_GOODS[:8]),
        columns=(
            Entry("price", _money(2, 900), "number"), Entry("stock", _whole(3, 980), "number"),
            Entry("demand", _whole(3, 980), "number"), Entry("target", _whole(3, 980), "number"),
            Entry("revenue", _money(1000, 99000), "number"), Entry("score", _whole(10, 999), "number"),
            _choice("status", "open", "closed", "waiting", counted=True),
            _choice("region", "north", "south", "east", "west", counted=True),
            _choice("priority", "low", "normal", "high", counted=True),
        ),
        titles=("Overview", "Quarterly figures", "Summary by site", "Inventory", "Weekly report"),
    ),
    "invoice": Words(
        {"value": _VALUE, "value-of": ("What is the {row} of invoice {owner}?",), "is": _IS, "cell": _CELL, "cell-is": _CELL_IS,
         "total": ("What is the total?", "What is the total amount of the invoice?")},
        (
            Entry("invoice date", _date), Entry("due date", _date), Entry("delivery date", _date),
            Entry("order number", _code("PO-00000")), Entry("customer number", _code("C0000")),
            Entry("tax number", _code("AA000000000")), _choice("customer", *_PEOPLE), _choice("delivered to", *_CITIES),
            _choice("terms", "30 days net", "14 days net", "on receipt", "60 days net"),
            _choice("paid by", "bank transfer", "credit card", "cash", "cheque"),
        ),
        fewest=3, most=5, owners=tuple(f"{number}" for number in range(20417, 20417 + 24 * 37, 37)),
        titles=("Harbour Supplies", "Northgate Office", "Blue Finch Trading", "Maple & Stone", "Orbit Hardware"),
        items=_GOODS,
        columns=(Entry("quantity", _whole(1, 40), "number"), Entry("unit price", _money(2, 90), "number"),
                 Entry("amount", _money(10, 900), "number")),
        total=True,
    ),
    "dialog": Words(
        {"value": _VALUE, "is": _IS, "yes-no": ("Is \"{row}\" ticked?", "Is the box \"{row}\" checked?"),
         "selected": ("Which button is highlighted?",)},
        (
            Entry("file name", _code("scan_0000.pdf")), Entry("file size", _whole(2, 990, "{} MB")),
            Entry("free space", _whole(2, 990, "{} GB")), Entry("version", _code("0.0.0")), Entry("date modified", _date),
            Entry("error code", _code("0x000A")), Entry("remaining time", _whole(2, 59, "{} min")), _choice("server", *_CITIES),
            *_named("Do not ask again, Apply to all files, Keep a copy, Send a report, Restart afterwards", look="check"),
        ),
        fewest=3, most=5, titles=("Save changes?", "Update available", "Copying files", "Connection lost", "Delete file?"),
        buttons=("OK", "Cancel", "Retry", "Save", "Discard", "Ignore", "Continue", "Details", "Later"),
    ),
}  # fmt: skip
