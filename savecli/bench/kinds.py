"""What a caption speaks of: a sound, speech, both or neither, by its words alone.

The rule: a caption that has one of SOUND's words as a whole word, in upper or lower case, speaks of a sound;
one that has one of SPEECH's, of speech. Nothing else is looked at, neither the video nor what stands around
the word, so "no sound" and "a talking point" count too. The lists are our own and narrow: words that name
what is heard or the act that makes it, not things that happen to be loud (bell, drum, dog), nor words that
mostly mean something else (ring, bark, play, call). A caption of "neither" may well have a video in which
something is heard. English only.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["sound", "speech", "both", "neither"]
KINDS: tuple[Kind, ...] = ("sound", "speech", "both", "neither")

_SOUND = """
applaud applauding applauds applause audible audio barking barks beatboxing beeping beeps bleating booing
burping burps buzzes buzzing chant chanting chants cheering cheers chime chimes chiming chirping chirps
chuckle chuckles chuckling clapping claps cough coughing coughs crackling cries croaking crowing crying
drumming duet giggle giggles giggling groaning groans growl growling growls gunfire gunshot gunshots hear
heard hearing hears hissing honk honking honks hoot hooting hoots howl howling howls hum humming hums
karaoke knocking laugh laughed laughing laughs laughter loud loudly lullaby lyrics melody meow meowing
meows moaning moans mooing moos music musical neighing noise noises noisy purring purrs quacking quacks
rap rapping raps ringing roar roaring roars rumble rumbling rustling sang scream screamed screaming
screams shriek shrieking shrieks sigh sighing sighs sing singing sings siren sirens sizzling snarling
sneeze sneezes sneezing snore snores snoring sobbing song songs sound sounding sounds soundtrack squeak
squeaking squeaks squeal squealing squeals strumming strums sung thunder ticking vocals wailing whimpering
whistles whistling yelp yelping yelps yodeling
"""
_SPEECH = """
accent announce announced announcement announcements announces announcing argue argued argues arguing ask
asked asking asks chat chats chatted chatting commentary commentating commentator commentators complaining
complains conversation conversations converse converses conversing debate debates debating describe
describes describing dialog dialogue dialogues discuss discussed discusses discussing discussion
discussions explain explained explaining explains explanation gossiping instructs interview interviewed
interviewer interviewing interviews jokes joking lecture lectures lecturing mention mentioned mentioning
mentions monologue mumbles mumbling murmuring narrate narrated narrates narrating narration narrator
preaches preaching quarrelling recites reciting said say saying says sermon shout shouted shouting shouts
speak speaking speaks speech speeches spoke spoken talk talked talking talks tell telling tells told
utters verbally voice voiceover voices whisper whispered whispering whispers yell yelled yelling yells
"""
SOUND = frozenset(_SOUND.split())
SPEECH = frozenset(_SPEECH.split())
LEGEND = (
    "kind of query, by its words alone: sound has a word such as music, sings, barking, applause; speech one "
    "such as says, talks, explains, interview; both has one of each, neither none; the lists are in "
    "savecli/bench/kinds.py"
)
"""The rule, for a reader of a table."""

_WORD = re.compile(r"\w+")


def kind_of(caption: str) -> Kind:
    """The kind of a caption, by the rule of this module."""
    words = set(_WORD.findall(caption.casefold()))
    match bool(words & SOUND), bool(words & SPEECH):
        case True, True:
            return "both"
        case True, False:
            return "sound"
        case False, True:
            return "speech"
    return "neither"
