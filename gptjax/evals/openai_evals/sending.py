"""Sends the events of a log to a URL, as `oaieval --http-run` does.

    send(Path("log.jsonl"), "http://127.0.0.1:9000/events", batch_size=100, most_failed=5)

Each request is a JSON list of events. The final report is the last one, of type final_report.

Source: HttpRecorder in evals/record.py of openai/evals 3.0.1.
"""

import json
import urllib.request
from pathlib import Path
from typing import Any

from absl import logging

from gptjax.evals.openai_evals.log import rows_of

_TIMEOUT = 60.0  # seconds


def send(path: Path, url: str, *, batch_size: int, most_failed: float) -> int:
    """Sends a log that has ended.

    Args:
      path: of the log.
      url: that the events are posted to.
      batch_size: events in a request.
      most_failed: percentage of events that may be lost.

    Returns:
      Events that the server took.

    Raises:
      ValueError: more are lost; all are in the log still.
    """
    rows = rows_of(path)
    events = [row for row in rows if "event_id" in row]
    for row in rows:
        if "final_report" in row:
            events.append(_report(row, len(events), rows[0]["spec"]))
    lost, why = 0, ""
    for start in range(0, len(events), batch_size):
        part = events[start : start + batch_size]
        data = json.dumps(part).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):
                pass
        except OSError as error:
            lost, why = lost + len(part), str(error)
            logging.warning("%s: %d events were not taken: %s", url, len(part), error)
    if lost > len(events) * most_failed / 100:
        raise ValueError(
            f"--http_run_url: got {why} for {lost} of {len(events)} events, expected at most "
            f"{most_failed:g}%; all are in {path}"
        )
    return len(events) - lost


def _report(row: dict[str, Any], number: int, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": row["run_id"],
        "event_id": number,
        "sample_id": None,
        "type": "final_report",
        "data": row["final_report"],
        "created_by": spec["created_by"],
        "created_at": spec["created_at"],
    }
