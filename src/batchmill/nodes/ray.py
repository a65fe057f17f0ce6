"""The engine on a Ray cluster: nodes are actors on its machines; they are lost and replaced, drain, and come late.

All that is decided here is decided from what arrives and from a clock; the actors themselves are kept by a `Fleet`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.nodes.node_order import Abort, Answer, Drain, Finish, Message, NodeOrder, Revoke, Tasks
from batchmill.nodes.placement import Bundle, place, why_waiting
from batchmill.nodes.ray_actors import Arrival, Dead, Fleet, Given, RayFleet, Refused, Started, Taken, Unanswered
from batchmill.parallel_run.events import Asked, Event, NodeDraining, NodeGaveUp, NodeJoined, NodeLost, Task

HEAR_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds. A node is asked for news again after ``take`` at the latest; one that has said nothing for ``silence`` is lost; an actor
    that a machine with room has not made after ``start`` is sent elsewhere; ``abort`` is what nodes get to clean up; machines are looked at
    every ``look``; nodes that wait for a machine for longer than ``room`` are worth a word."""

    take: float = 5.0
    silence: float = 40.0
    start: float = 120.0
    abort: float = 3.0
    look: float = 1.0
    room: float = 3.0


@dataclass(slots=True)
class _Crew:
    """One node and its actor."""

    name: str
    machine: str | None
    heard: float
    joined: bool = False
    draining: bool = False
    """It gets nothing more, and another one takes its place unless it gave up."""
    parted: bool = False
    """It has said that it is lost, or gives up; its end is still to come."""
    taken: int = 0
    outbox: list[Message] = field(default_factory=list)
    on_the_way: list[Message] = field(default_factory=list)
    given: int = 0
    """Messages that the actor has confirmed."""


class RayEngine:
    """``node_count`` nodes of ``order``, each reserving ``bundle``; ``granted``: nodes to begin with (`grow`). A lost node is replaced by
    one with another name; names count up from ``first_node``."""

    speculates = True

    def __init__(
        self,
        order: NodeOrder,
        bundle: Bundle,
        *,
        granted: int | None = None,
        first_node: int = 0,
        announce: Callable[[str], None] = lambda _text: None,
        bounds: Bounds | None = None,
        fleet: Fleet | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._bundle = bundle
        self._most = order.config.node_count
        self._wanted = self._most if granted is None else min(granted, self._most)
        self._clock = clock
        self._announce, self._announced = announce, False
        self._fleet = fleet or RayFleet(order, bundle, self._bounds.look)
        self._crews: dict[str, _Crew] = {}
        self._next = first_node
        self._gone: set[str] = set()
        self._stepped = clock()
        self._looked = clock()
        self._ending = False
        for _ in range(self._wanted):
            self._enlist()

    @property
    def nodes(self) -> Sequence[str]:
        return [crew.name for crew in self._crews.values() if not crew.draining]

    @property
    def machines(self) -> dict[str, str | None]:
        """Where each node is; None while it waits for room."""
        return {crew.name: crew.machine for crew in self._crews.values()}

    # --- what the job asks for --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._launch(list(self._crews.values()))

    def grow(self, count: int) -> Sequence[str]:
        more = min(count, self._most - self._wanted)
        self._wanted += max(0, more)
        crews = [self._enlist() for _ in range(more)]
        self._launch(crews)
        return [crew.name for crew in crews]

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        self._send(node, Tasks(tuple(tasks)))

    def revoke(self, node: str, token: int) -> None:
        self._send(node, Revoke(token))

    def answer(self, asked: Asked, answer: dict[str, Any]) -> None:
        self._send(asked.node, Answer(asked, answer))

    def step(self, timeout: float) -> list[Event]:
        deadline = self._clock() + timeout
        while True:
            self._notice_own_pause()
            events = self._heed(self._fleet.wait(max(0.0, min(deadline - self._clock(), self._bounds.look))))
            events += self._silent()
            if not self._ending:
                events += self._watch_machines()
            if events or self._clock() >= deadline or (self._ending and not self._crews):
                return events

    def finish(self, hear: Callable[[list[Event]], None]) -> None:
        self._ending = True
        for crew in list(self._crews.values()):
            if crew.joined:
                self._send(crew.name, Finish())
            else:
                self._dismiss(crew)
        while self._crews:
            hear(self.step(HEAR_EVERY))
        self._fleet.close()

    def abort(self) -> None:
        self._ending = True
        for crew in list(self._crews.values()):
            self._send(crew.name, Abort())
            if not crew.joined:
                self._dismiss(crew)
        deadline = self._clock() + self._bounds.abort
        while self._crews and self._clock() < deadline:
            self._heed(self._fleet.wait(max(0.0, deadline - self._clock())))
        self._crews.clear()
        self._fleet.close()

    # --- starting ---------------------------------------------------------------------------------------------------------------

    def _enlist(self) -> _Crew:
        name, self._next = f"node{self._next}", self._next + 1
        crew = self._crews[name] = _Crew(name, None, self._clock())
        return crew

    def _launch(self, crews: Sequence[_Crew]) -> None:
        """Machines with room first; who finds none waits for one, in Ray."""
        held = [crew.machine for crew in self._crews.values() if crew.machine is not None]
        machines = [machine for machine in self._fleet.machines() if machine.id not in self._gone]
        chosen: list[str | None] = [*place(machines, self._bundle, len(crews), held)]
        chosen += [None] * (len(crews) - len(chosen))
        for crew, machine in zip(crews, chosen, strict=True):
            crew.machine, crew.heard = machine, self._clock()
            self._fleet.launch(crew.name, machine)

    def _replace(self) -> None:
        """New nodes in place of those that are lost or about to be."""
        if not self._ending:
            missing = self._wanted - sum(not crew.draining for crew in self._crews.values())
            self._launch([self._enlist() for _ in range(missing)])

    # --- what arrives -----------------------------------------------------------------------------------------------------------

    def _heed(self, arrivals: Iterable[Arrival]) -> list[Event]:
        events: list[Event] = []
        for arrival in arrivals:
            crew = self._crews.get(arrival.node)
            if crew is not None:
                events += self._arrived(crew, arrival)
        return events

    def _arrived(self, crew: _Crew, arrival: Arrival) -> list[Event]:
        if isinstance(arrival, Dead):
            return self._lose(crew, arrival.reason)
        if isinstance(arrival, Refused):
            if crew.joined:  # it may hold leases
                return self._lose(crew, f"{arrival.error.error_class}: {arrival.error.message}")
            self._dismiss(crew)
            self._wanted -= not crew.draining
            return [NodeGaveUp(crew.name, arrival.error)]
        if isinstance(arrival, Unanswered):
            return self._again(crew, arrival.call)
        crew.heard = self._clock()
        if isinstance(arrival, Given):
            crew.given += len(crew.on_the_way)
            crew.on_the_way = []
            self._flush(crew)
            return []
        if isinstance(arrival, Taken):
            return self._taken(crew, arrival)
        return self._started(crew, arrival)

    def _started(self, crew: _Crew, arrival: Started) -> list[Event]:
        crew.joined, crew.machine = True, arrival.machine
        self._fleet.take(crew.name, crew.taken, self._bounds.take)
        self._flush(crew)
        return [NodeJoined(crew.name)]

    def _taken(self, crew: _Crew, arrival: Taken) -> list[Event]:
        events = list(arrival.batch.events)
        crew.taken += 1
        if any(isinstance(event, NodeGaveUp) for event in events):
            self._wanted -= not crew.draining
            crew.draining = True
        crew.parted = crew.parted or any(isinstance(event, NodeGaveUp | NodeLost) for event in events)
        if arrival.batch.ended:
            self._dismiss(crew)
            if not (crew.parted or self._ending):
                events.append(NodeLost(crew.name, "it ended by itself", by_itself=True))
            self._replace()
        else:
            self._fleet.take(crew.name, crew.taken, self._bounds.take)
        return events

    def _again(self, crew: _Crew, call: str) -> list[Event]:
        """The same words once more; actors know what they have heard."""
        if call == "take":
            self._fleet.take(crew.name, crew.taken, self._bounds.take)
        elif call == "give":
            self._fleet.give(crew.name, crew.given, crew.on_the_way)
        else:
            return self._lose(crew, "its actor could not be reached")
        return []

    # --- what is said -----------------------------------------------------------------------------------------------------------

    def _send(self, node: str, message: Message) -> None:
        crew = self._crews.get(node)
        if crew is not None:  # it was lost before the job heard of it
            crew.outbox.append(message)
            self._flush(crew)

    def _flush(self, crew: _Crew) -> None:
        """One call at a time; what is said meanwhile goes with the next."""
        if crew.joined and crew.outbox and not crew.on_the_way:
            crew.on_the_way, crew.outbox = crew.outbox, []
            self._fleet.give(crew.name, crew.given, crew.on_the_way)

    # --- losses -----------------------------------------------------------------------------------------------------------------

    def _dismiss(self, crew: _Crew) -> None:
        del self._crews[crew.name]
        self._fleet.kill(crew.name)

    def _lose(self, crew: _Crew, reason: str) -> list[Event]:
        if not crew.joined and crew.machine is not None:
            self._gone.add(crew.machine)  # others go there only if Ray sends them
        self._dismiss(crew)
        if not self._ending:
            self._replace()
        return [NodeLost(crew.name, reason)]

    def _silent(self) -> list[Event]:
        now, events = self._clock(), []
        for crew in list(self._crews.values()):
            if crew.joined and now - crew.heard > self._bounds.silence:
                events += self._lose(crew, f"it has not answered for {self._bounds.silence:g} seconds")
            elif not crew.joined and crew.machine is not None and now - crew.heard > self._bounds.start:
                events += self._lose(crew, f"no actor could be started within {self._bounds.start:g} seconds")
        return events

    def _notice_own_pause(self) -> None:
        """Whoever was not looking cannot say that the others were silent."""
        now = self._clock()
        if now - self._stepped > self._bounds.silence / 4:
            for crew in self._crews.values():
                crew.heard = now
        self._stepped = now

    # --- machines ---------------------------------------------------------------------------------------------------------------

    def _watch_machines(self) -> list[Event]:
        if self._clock() - self._looked < self._bounds.look:
            return []
        self._looked = self._clock()
        self._tell_who_waits()
        leaving = {machine.id for machine in self._fleet.machines() if machine.draining}
        events: list[Event] = []
        for crew in list(self._crews.values()):
            if crew.joined and crew.machine in leaving and not crew.draining:
                crew.draining = True
                self._send(crew.name, Drain())
                events.append(NodeDraining(crew.name, "its machine is draining"))
        if events:
            self._replace()
        return events

    def _tell_who_waits(self) -> None:
        """Once: whoever looks on is to know what the run, or a part of it, waits for."""
        waiting = [crew for crew in self._crews.values() if crew.machine is None and self._clock() - crew.heard > self._bounds.room]
        if waiting and not self._announced:
            self._announced = True
            self._announce(why_waiting(self._fleet.machines(), self._bundle, len(waiting), len(self._crews)))
