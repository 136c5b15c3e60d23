"""Somebody who answers the questions in a folder."""

import threading

from lvlm_va.backends.folder_question import QUESTION, REPLY


def questions(folder):
    """Return the folders of all questions that are whole, in order."""
    return sorted(path.parent for path in folder.glob(f"*/{QUESTION}"))


def unanswered(folder):
    return [place for place in questions(folder) if not (place / REPLY).exists()]


def put(place, text):
    """Write a reply at once and whole, as README.txt asks for."""
    (place / "reply.tmp").write_bytes(text if isinstance(text, bytes) else text.encode())
    (place / "reply.tmp").replace(place / REPLY)


def said_by_user(place):
    """Return the text of the last turn of a question."""
    key = place.name.partition("-")[2]
    text = (place / QUESTION).read_text("utf-8").split(f"----- user {key} -----\n")[-1]
    return text.split(f"\n----- form {key} -----")[0].strip()


class Answering:
    """Answer in the background whatever is asked, by a function of the question's folder (or by echoing it)."""

    def __init__(self, folder, answer=said_by_user):
        self.folder, self.answer = folder, answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(0.005):
            for place in unanswered(self.folder):
                put(place, self.answer(place) or "(nothing was asked)")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()
