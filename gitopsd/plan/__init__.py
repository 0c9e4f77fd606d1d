"""What is to be done so that every host has what it should.  [pure]"""

from gitopsd.plan.compose import only, plan
from gitopsd.plan.document import from_document, schema, to_document
from gitopsd.plan.guard import Limits
from gitopsd.plan.text import brief, held_words, render_text, summary

__all__ = ["Limits", "brief", "from_document", "held_words", "only", "plan", "render_text", "schema", "summary", "to_document"]
