"""Waveform -> Transcript. The only room that imports the speech engines, and only when one is made."""

import os

from savecli.speech.convert import convert_ct2_to_openai
from savecli.speech.faster import FasterWhisper
from savecli.speech.reference import OpenAIWhisper

# onnxruntime, in which Silero VAD runs, reports to its makers from 1.29 on unless it is told not to, by this
# and before it is imported; its own disable_telemetry_events() comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["FasterWhisper", "OpenAIWhisper", "convert_ct2_to_openai"]
