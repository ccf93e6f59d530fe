"""Sessions: requests that follow one another, each with all that was said before in its prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.spec import Count, Variation, spec
from simulator.workload.lengths.discrete import Lengths
from simulator.workload.text_units import Pause


@spec
class Conversation:
    """A chat of `turns` questions. Each comes `think` seconds, on average, after the answer before it, and carries the whole
    chat.

    The workload's prompt is the first question; `followup` the later ones, the same law unless given. A chat ends before a
    turn whose prompt and answer would exceed `max_context`. `think_cv` is the coefficient of variation of the think time: 1
    is exponential.
    """

    kind: Literal["conversation"] = "conversation"
    turns: Lengths
    think: Pause
    think_cv: Variation = 1.0
    followup: Lengths | None = None
    max_context: Count | None = None

    def length(self) -> Lengths:
        """How many requests a session has."""
        return self.turns

    def pause(self) -> tuple[float, float]:
        """Mean seconds between an answer and the next request, and their coefficient of variation."""
        return self.think, self.think_cv

    def later_prompt(self) -> Lengths | None:
        """Tokens that a later request adds, or None for the same as the first."""
        return self.followup


@spec
class Agent:
    """An agent's loop of `steps` calls. Each adds a tool's result to the context, `tool_pause` seconds, on average, after the
    last call.

    The workload's prompt is the task, its output what the model writes at each step. The loop ends before a step that would
    exceed `max_context`.
    """

    kind: Literal["agent"] = "agent"
    steps: Lengths
    tool_pause: Pause
    tool_pause_cv: Variation = 1.0
    tool_result: Lengths
    max_context: Count | None = None

    def length(self) -> Lengths:
        """How many requests a session has."""
        return self.steps

    def pause(self) -> tuple[float, float]:
        """Mean seconds between an answer and the next request, and their coefficient of variation."""
        return self.tool_pause, self.tool_pause_cv

    def later_prompt(self) -> Lengths | None:
        """Tokens that a later request adds."""
        return self.tool_result


Sessions = Annotated[Conversation | Agent, Field(discriminator="kind")]
