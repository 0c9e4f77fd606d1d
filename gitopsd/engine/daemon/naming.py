"""Names for containers whose user gave none.  [pure]"""

from __future__ import annotations

_ADJECTIVES = (
    "amber bold brisk calm clever cosy crisp deft eager early fair fleet fresh gentle glad golden grand happy hardy honest humble jolly "
    "keen kind light lively lucid lucky mellow merry mild neat nimble noble patient plain proud quick quiet ready robust sharp silver "
    "smart snug solid spry steady sunny swift tidy true vivid warm wise witty"
).split()
_NOUNS = (
    "alder anchor aspen badger barge beacon birch bridge brook canyon cedar comet compass coral crane cricket delta dune ember falcon "
    "fern finch fjord forge fox gale glacier harbour hazel heron hill inlet island ivy juniper kestrel lagoon lark linden lynx maple "
    "meadow mesa moss oak orchard osprey otter pebble pine plover quarry raven reef ridge river robin rowan sail sparrow spruce summit "
    "swan thicket thrush valley willow wren"
).split()


def generate(number: int, attempt: int) -> str:
    """A name for a random number; from the sixth attempt on it carries digits, so one is always free."""
    adjective = _ADJECTIVES[number % len(_ADJECTIVES)]
    noun = _NOUNS[number // len(_ADJECTIVES) % len(_NOUNS)]
    return f"{adjective}_{noun}" if attempt < 5 else f"{adjective}_{noun}{number % 10**attempt}"
