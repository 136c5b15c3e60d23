"""The exam of critics: drawn images with known shortcuts, asked of anybody who judges segments."""

from lvlm_va.critic_exam.grading import Error, Grade
from lvlm_va.critic_exam.page import write_page
from lvlm_va.critic_exam.run import ExamResult, SetResult, exam
from lvlm_va.critic_exam.sets import SETS, Questions, load_questions

__all__ = [
    "SETS",
    "Error",
    "ExamResult",
    "Grade",
    "Questions",
    "SetResult",
    "exam",
    "load_questions",
    "write_page",
]
