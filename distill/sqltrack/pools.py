"""Words that synthetic rows are made of, by the word of a column's name that asks for them. Plain data."""

from __future__ import annotations

FIRST_NAMES = tuple(
    "Amara Benoit Chiara Daisuke Elif Farid Greta Hugo Ines Jonas Kavya Liam Mei Nadia Oskar Priya Quentin "
    "Rosa Samir Tomas Uma Viktor Wanda Ximena Yusuf Zoe".split()
)
LAST_NAMES = tuple(
    "Almeida Becker Castro Dubois Eriksen Fischer Garcia Haddad Ivanova Jansen Kowalski Lindqvist Moreau Novak "
    "Okafor Petrov Quinn Rossi Schmidt Tanaka Usman Vargas Weber Yilmaz Zhang".split()
)
ADJECTIVES = tuple(
    "Amber Bright Calm Distant Early Fallen Golden Hidden Iron Jade Late Northern Open Quiet Red Silver "
    "Tall Wild".split()
)
NOUNS = tuple(
    "Anchor Bridge Circle Door Field Garden Harbor Island Lamp Mirror Mountain Orchard River Stone Tower "
    "Valley Window Wave".split()
)
SENTENCES = (
    "Works as described",
    "Please call back before noon",
    "Arrived late but complete",
    "Second request about the same matter",
    "No further action needed",
    "Damaged corner on the left side",
    "Very satisfied",
    "Waiting for the answer of the supplier",
)

_CITIES = ("Berlin", "Lyon", "Porto", "Osaka", "Toronto", "Nairobi", "Utrecht", "Lima")
_COUNTRIES = ("Germany", "France", "Portugal", "Japan", "Canada", "Kenya", "Netherlands", "Peru")
_REGIONS = ("North", "South", "East", "West", "Central")

FEW: dict[str, tuple[str, ...]] = {
    "city": _CITIES,
    "town": _CITIES,
    "location": _CITIES,
    "country": _COUNTRIES,
    "nationality": _COUNTRIES,
    "origin": _COUNTRIES,
    "region": _REGIONS,
    "state": _REGIONS,
    "area": _REGIONS,
    "currency": ("EUR", "USD", "GBP"),
    "color": ("red", "blue", "green", "black", "white"),
    "colour": ("red", "blue", "green", "black", "white"),
    "language": ("English", "German", "Spanish", "Japanese"),
    "genre": ("drama", "comedy", "jazz", "rock", "documentary"),
    "status": ("new", "active", "done", "cancelled"),
    "priority": ("low", "medium", "high"),
    "level": ("beginner", "intermediate", "advanced"),
    "size": ("S", "M", "L", "XL"),
    "gender": ("F", "M"),
    "sex": ("F", "M"),
    "type": ("standard", "basic", "premium", "special"),
    "kind": ("standard", "basic", "premium", "special"),
    "category": ("standard", "basic", "premium", "special"),
    "material": ("wood", "steel", "glass", "paper"),
    "department": ("Sales", "Finance", "Research", "Support", "Logistics"),
    "role": ("lead", "member", "guest", "assistant"),
    "specialty": ("general", "surgery", "dentistry", "cardiology"),
    "drug": ("amoxicillin", "meloxicam", "prednisone", "ketamine", "insulin"),
    "room": ("A1", "A2", "B1", "B2", "C1"),
    "label": ("Sunset", "Parlour", "Redwood", "Harvest"),
    "unit": ("kg", "l", "piece", "box"),
    "brand": ("Nordika", "Velo", "Astra", "Kumo"),
}
"""Columns with few values: what is grouped and filtered by."""
