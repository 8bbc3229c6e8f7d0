"""A request on its way through the faults: what strikes it before the server acts, what after, and what is noted."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from pmcredd.sandbox.faults import Ending, Target
from pmcredd.sandbox.inbound import Inbound, Reply
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.stand_ins import stand_in


@dataclass(frozen=True, slots=True)
class Door:
    """Where faults lie in wait: what is asked, who asks, and what the server does about it.

    `act` does all of it in one step, and gives what is to be noted in the journal, None for nothing.
    """

    target: Target
    describe: Callable[[], Note]
    act: Callable[[], tuple[Reply, Note | None]]


async def pass_through(sandbox: Sandbox, request: Inbound, door: Door) -> tuple[Reply, Ending]:
    """Answer a request as the faults in force will have it; gives the reply and how much of it goes out."""
    strike = sandbox.faults.strike(door.target, request.path, door.describe)
    fault = strike.fault
    if strike.before:
        await trio.sleep(strike.before)
    # From here to the journal's entry nothing waits: what was acted on is noted, whoever goes away.
    if fault is None or fault.acts:
        reply, note = door.act()
    else:
        reply, note = _SILENCE, door.describe() if door.target is Target.TOKEN else None
    if fault is not None and fault.stand_in is not None:
        reply = stand_in(fault.stand_in, request, seconds=fault.seconds, now=sandbox.now())
    ending = Ending.WHOLE if fault is None else fault.ending
    if note is not None:
        status = 0 if ending is Ending.NOTHING else reply.status
        lost = note.acted and fault is not None
        sandbox.journal.add(replace(note, status=status, lost=lost, fault=" ".join(strike.kinds)))
    if strike.after:
        await trio.sleep(strike.after)
    return reply, ending


_SILENCE = Reply(0, (), b"")
