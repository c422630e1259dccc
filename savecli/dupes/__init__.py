"""Videos and scenes that the store holds more than once, found by what they show."""

from savecli.dupes.records import Copies, Dupes, Member, Options, Stage, Twins
from savecli.dupes.run import find

__all__ = ["Copies", "Dupes", "Member", "Options", "Stage", "Twins", "find"]
