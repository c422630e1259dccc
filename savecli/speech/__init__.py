"""Waveform -> Transcript. The only room that imports the speech engines, and only when one is made."""

from savecli.speech.convert import convert_ct2_to_openai
from savecli.speech.faster import FasterWhisper
from savecli.speech.reference import OpenAIWhisper

__all__ = ["FasterWhisper", "OpenAIWhisper", "convert_ct2_to_openai"]
