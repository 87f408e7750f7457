"""Answers, and who scores them: policies, judges, rubrics, ratings."""
