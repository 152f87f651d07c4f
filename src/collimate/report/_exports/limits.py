"""What a reader of a model card must know against the model, from the record alone."""

from __future__ import annotations

from collections.abc import Callable

from collimate.report._alarms import alarms
from collimate.report._displacement import displacement
from collimate.report._format import count, plural, share
from collimate.report._record import DataFacts, RunRecord
from collimate.report._words import words_of

NOT_JUDGED = (
    "Nothing that the model writes was judged: neither its usefulness nor its truth, safety or bias, "
    "and no benchmark was run. Held-out figures compare log-probabilities of given answers."
)


def limits(record: RunRecord) -> tuple[str, ...]:
    """Sentences, the gravest first; `NOT_JUDGED` last, in every card.

    >>> from pathlib import Path
    >>> limits(RunRecord(folder=Path("one"), name="one"))[0]
    'The run is not finished (running): these are not its final weights.'
    """
    return (
        *_state(record),
        *alarms(record),
        *_held_out(record),
        *_moved(record),
        *_data("training", record.train_data, record),
        *_data("held-out", record.evaluation_data, record),
        *_model(record),
        NOT_JUDGED,
    )


def _state(record: RunRecord) -> tuple[str, ...]:
    if record.status == "finished":
        return ()
    return (f"The run is not finished ({record.status}): these are not its final weights.",)


def _held_out(record: RunRecord) -> tuple[str, ...]:
    after, data, words = record.after, record.evaluation_data, words_of(record)
    if after is None:
        return (
            f"There is no held-out evaluation after training, so nothing says how the model does on "
            f"{words.units} that it was not trained on.",
        )
    found: list[str] = []
    train = record.train_data
    if data is not None and train is not None and data.hash and data.hash == train.hash:
        found.append(
            "The held-out data are the training data: the figures say nothing about others."
        )
    bounds = after.reward_accuracy_interval
    if bounds is not None and bounds[0] <= 0.5 <= bounds[1]:
        found.append("Held-out reward accuracy cannot be told from the 0.5 of chance.")
    before = record.before
    old = before and before.likelihood_accuracy_interval
    new = after.likelihood_accuracy_interval
    if old is not None and new is not None and old[0] <= new[1] and new[0] <= old[1]:
        found.append(
            f"The 95 % intervals of held-out likelihood accuracy before and after training overlap: "
            f"{plural(after.rows, words.unit)} do not settle whether it changed."
        )
    return tuple(found)


def _moved(record: RunRecord) -> tuple[str, ...]:
    found, words = displacement(record), words_of(record)
    if found is None:
        return ()
    if found.gap < 0:
        return (f"On {found.over} {words.gap} shrank: training went the wrong way.",)
    if found.chosen < 0:
        return (
            f"The {words.better} answers became less probable too (by {-found.chosen:.1f} nats on "
            f"average on {found.over}): probability went to answers that nobody judged.",
        )
    return ()


def _data(which: str, facts: DataFacts | None, record: RunRecord) -> tuple[str, ...]:
    if facts is None:
        return ()
    words = words_of(record)
    skipped = sum(facts.skipped.values())
    counted: tuple[tuple[int | None, Callable[[int], str]], ...] = (
        (skipped, lambda n: f"{plural(n, f'{which} row')} {_was(n)} left out as unusable."),
        (
            facts.prompts_truncated,
            lambda n: (
                f"{plural(n, f'{which} prompt')} lost {_its(n)} beginning to the length limit."
            ),
        ),
        (
            facts.answers_truncated,
            lambda n: (
                f"{plural(n, f'{which} answer')} lost {_its(n)} end to the length limit, so that "
                "nothing is learnt from them about where to stop."
            ),
        ),
        (
            facts.ties,
            lambda n: (
                f"{plural(n, f'{which} row')} {'is a tie' if n == 1 else 'are ties'}: the "
                "answers are the same, but for case and white space at most."
            ),
        ),
        (
            facts.contradictions,
            lambda n: (
                f"{plural(n, f'{which} row')} {_prefers(n)} the other way round than an earlier "
                "one."
            ),
        ),
        (
            facts.duplicates,
            lambda n: (
                f"{plural(n, f'{which} row')} {'repeats' if n == 1 else 'repeat'} an earlier one."
            ),
        ),
    )
    found = [sentence(n) for n, sentence in counted if n]
    longer = facts.chosen_longer
    if longer is not None and abs(longer - 0.5) > 0.1:
        length = "longer" if longer > 0.5 else "shorter"
        at = share(max(longer, 1 - longer))
        found.append(
            f"In {at} of the {which} {words.units} the {words.better} answer is the {length} one: "
            "the model may have learnt length for quality."
        )
    return tuple(found)


def _model(record: RunRecord) -> tuple[str, ...]:
    model = record.model
    if model is None or model.quantization is None:
        return ()
    return (
        f"The base model was quantised to {model.quantization} while the adapter was trained: on "
        f"unquantised weights ({count(model.parameters)}) the figures will differ a little.",
    )


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _prefers(n: int) -> str:
    return "prefers" if n == 1 else "prefer"


def _its(n: int) -> str:
    return "its" if n == 1 else "their"
