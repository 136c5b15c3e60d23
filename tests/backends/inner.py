"""Backends to wrap in the tests of this folder."""

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np

from lvlm_va.backends import Capabilities, ChatReply, ChatRequest, ImagePart, Turn, Usage


def ask(text="What is it?", image=None, **more) -> ChatRequest:
    parts = (text,) if image is None else (text, ImagePart(np.asarray(image, np.uint8)))
    return ChatRequest((Turn("user", parts),), **more)


def text_of(request) -> str:
    return request.turns[-1].parts[0]


def texts(outcomes) -> list[str]:
    """Return what was said, or the kind of failure."""
    return [outcome.text if isinstance(outcome, ChatReply) else outcome.kind for outcome in outcomes]


def kinds(outcomes) -> list[str]:
    """Return "reply" or the kind of failure."""
    return ["reply" if isinstance(outcome, ChatReply) else outcome.kind for outcome in outcomes]


def reply(text="fine", tokens=(10, 5), **more) -> ChatReply:
    return ChatReply(text, "inner", usage=Usage(*tokens), **more)


def echo(request, before) -> ChatReply:
    return reply(text_of(request))


class Inner:
    """Answer by a function of the request and of how often it was asked before (or by echoing the text)."""

    name = "inner"

    def __init__(self, answer=None, batch_size=8, mark="inner-1"):
        self.answer = answer or echo
        self.capabilities = Capabilities(batch_size=batch_size)
        self.mark = mark
        self.calls = []
        self.lock = threading.Lock()

    def fingerprint(self):
        return self.mark

    @property
    def asked(self) -> list[str]:
        return [text_of(request) for call in self.calls for request in call]

    def complete(self, requests):
        with self.lock:
            before = [self.asked.count(text_of(request)) for request in requests]
            self.calls.append(list(requests))
        return [self.answer(*pair) for pair in zip(requests, before, strict=True)]

    def __getstate__(self):
        return {**self.__dict__, "lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state, lock=threading.Lock())


class Streaming(Inner):
    """Ask in threads and yield replies as they come; start another request when a reply was taken."""

    concurrency = 8

    def complete_each(self, requests):
        with ThreadPoolExecutor(self.concurrency) as pool:
            waiting, running, stopped = list(enumerate(requests)), {}, False
            while running or (waiting and not stopped):
                while waiting and not stopped and len(running) < self.concurrency:
                    position, request = waiting.pop(0)
                    running[pool.submit(self.complete, [request])] = position
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    (outcome,) = future.result()
                    stopped |= getattr(outcome, "stops", False)
                    yield running.pop(future), outcome
