"""
Is my vision-language model good enough?
========================================

A critic may be a vision-language model, on this machine or behind a server. Before it judges your images, an *exam* shows
whether it can: drawn images with known shortcuts, cut into segments by the attributions of nets that learned these. Each segment
is either an artefact or not, so that every answer can be graded.

This tutorial compares three: answers that a large model gave once, which ship with the package (``"recorded"``); the model
of 1 MB that ships as well (``"tiny"``); and a model behind a server on this machine.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import matplotlib.pyplot as plt

from lvlm_va import LVLMCritic, exam

large = exam("recorded")
for name, result in large.sets.items():
    grade = result.grade
    print(
        f"{name:12} right {grade.verdict_accuracy:.3f} of {grade.decided}, artefacts found {grade.recall:.3f} of {grade.artefacts}"
    )

# %%
# The small one
# -------------
# It knows the drawn digits, and little else. Ten images of each set are enough for a first impression.
small = exam("tiny", sets=["digits", "lesions"], n_images=10)

# %%
# A server
# --------
# vLLM, Ollama, llama.cpp and ``transformers serve`` speak OpenAI's protocol. The critic is then
# ``"http://127.0.0.1:8000/v1#MODEL"``, in Python as on the command line:
#
# .. code-block:: sh
#
#    lvlm-va exam --critic http://127.0.0.1:8000/v1#MODEL --images 10 --out exam
#
# Lest this page need a large model, the server below is a stand-in that calls everything an artefact. The exam sees through it.


class Cynic(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        said = "\n".join(
            f"Segment {k} | covers: something | answer: artefact"
            for k in range(1, 13)
        )
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": said},
        }
        body = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "cynic",
                "choices": [choice],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Cynic)
threading.Thread(target=server.serve_forever, daemon=True).start()
cynic = exam(
    LVLMCritic(f"http://127.0.0.1:{server.server_port}/v1#cynic"),
    sets=["digits", "lesions"],
    n_images=10,
)
server.shutdown()

# %%
# Which is good enough?
# ---------------------
# *Right* is the share of right verdicts, *found* the share of artefacts that were called so, *rightly* the share of artefacts
# among what was called so. A critic that calls all spurious finds every artefact, and would have the object masked: look at the last.
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
figures = ("verdict_accuracy", "recall", "precision")
for ax, name in zip(axes, ("digits", "lesions"), strict=True):
    for offset, (label, result) in enumerate(
        {"large": large, "tiny": small, "cynic": cynic}.items()
    ):
        values = [getattr(result.sets[name].grade, figure) for figure in figures]
        ax.bar([i + 0.25 * offset for i in range(3)], values, width=0.25, label=label)
    ax.set(
        title=name,
        xticks=[0.25, 1.25, 2.25],
        xticklabels=["right", "found", "rightly"],
        ylim=(0, 1.05),
    )
axes[0].legend(loc="lower left")

# %%
# As a rule: from 0.95 of right verdicts on, alignment by its verdicts was as good as by true ones; at 0.7, with errors at random,
# extending the verdicts (``propagate``) still averaged them out (:doc:`/background/results`). Errors with a system, such as a model
# that takes every background for an artefact, are not averaged out: ``lvlm-va exam --out`` writes a page with the picture of every
# error. Often a sentence in the description mends them: :doc:`/how_to/descriptions`.
