r"""Looks into what experiments.prepare_data has prepared.

    python -m experiments.inspect_data --data=prepared/smoke
    python -m experiments.inspect_data --data=prepared/smoke --ids="docs: csv.py,topic in"
    python -m experiments.inspect_data --data=prepared/smoke --rows=4 --context_length=128 --check

Shows the first rows that a run trains on, decoded, with the boundaries of documents; how long
documents are, and which tokens are common; the largest clusters of near-duplicates; and what each
rule dropped, with examples. The same is written to inspection.html in the folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_text
from gptjax.curation import inspection
from gptjax.data.prepared.split import OpenedData, open_prepared
from gptjax.reports.inspection import Section, page_of, text_of
from gptjax.tokenization import Tokenizer, load_tokenizer

_DATA = define_path("data", None, "Folder of prepared data. It must be given.", required=True)
_IDS = flags.DEFINE_list(
    "ids", [], "Ids of documents that are shown whole: `source: id`, or the id alone."
)
_ROWS = flags.DEFINE_integer("rows", 3, "Number of packed rows that are shown.", lower_bound=0)
_CONTEXT_LENGTH = flags.DEFINE_integer("context_length", 256, "Tokens of a row.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the run that trains on them.", lower_bound=0)
_EXAMPLES = flags.DEFINE_integer("examples", 2, "Examples of each reason.", lower_bound=0)
_TOP = flags.DEFINE_integer("top", 10, "Clusters and tokens that are shown.", lower_bound=0)
_CHECK = flags.DEFINE_bool("check", False, "Whether every byte of the shards is checked first.")


def main(argv: Sequence[str]) -> None:
    """Shows what the flags say, and writes the page."""
    del argv
    opened = open_prepared(_DATA.value)
    tokenizer = load_tokenizer(str(opened.directory / "tokenizer"))
    if _CHECK.value:
        print(f"{len(list(inspection.check_shards(opened)))} shards are as they were written")
    sections = [
        *_documents(opened, tokenizer),
        *_rows(opened, tokenizer),
        *_lengths(lengths := inspection.document_lengths(opened)),
        *_tokens(opened, tokenizer),
        *_duplicates(opened.directory),
        *_dropped(opened.directory),
    ]
    print("\n".join(text_of(sections)))
    page = opened.directory / "inspection.html"
    overview = (
        f"{len(opened.index.shards):,} shards, {len(opened.train.tokens):,} tokens to train on, "
        f"{len(opened.validation.tokens):,} held out; packing: {opened.index.packing}"
    )
    title = f"Inspection of {opened.directory.name}"
    write_text(page, page_of(title, sections, lengths, overview))
    print(f"{overview}\n{page} is written")


def _documents(opened: OpenedData, tokenizer: Tokenizer) -> Iterator[Section]:
    for one in inspection.documents_by_id(opened, tokenizer, _IDS.value):
        about = {name: value for name, value in one.about.items() if name != "id"}
        note = f"{one.tokens:,} tokens in {one.shard}; {about or 'nothing else is known of it'}"
        print(f"{one.name}: {note}\n{one.text}\n")
        yield Section(one.name, ("text",), [[one.text]], note)


def _rows(opened: OpenedData, tokenizer: Tokenizer) -> Iterator[Section]:
    length = _CONTEXT_LENGTH.value
    for row in inspection.rows_in_order(opened, tokenizer, length, _ROWS.value, _SEED.value):
        parts = [[name, f"from token {first}", text] for name, first, text in row.parts]
        note = f"{len(parts)} document(s), {row.padding} of {length} places are padding"
        yield Section(f"row {row.number}", ("document", "from", "text"), parts, note)


def _lengths(lengths: dict[str, dict[str, list[int]]]) -> Iterator[Section]:
    for source, of in lengths.items():
        rows = [
            [f"{first:>9,} to {2 * first - 1:>9,} tokens", f"{count:,}"]
            for first, count in zip(of["from"], of["documents"], strict=True)
            if count
        ]
        yield Section(f"documents of {source} by length", ("length", "documents"), rows)


def _tokens(opened: OpenedData, tokenizer: Tokenizer) -> Iterator[Section]:
    common, never, counted = inspection.common_tokens(opened, tokenizer, _TOP.value)
    rows = [[f"{count / counted:.3%}", repr(text)] for text, count in common]
    note = f"of {counted:,} tokens; {never:,} of {opened.index.vocab_size:,} never occur"
    yield Section("commonest tokens", ("share", "token"), rows, note)


def _duplicates(directory: Path) -> Iterator[Section]:
    rows = [
        [f"{1 + len(row['dropped'])} documents", ": ".join(row["kept"]), _names(row["dropped"])]
        for row in inspection.largest_clusters(directory, _TOP.value)
    ]
    yield Section("largest clusters of near-duplicates", ("size", "kept", "dropped"), rows)


def _names(names: list[list[str]]) -> str:
    return "; ".join(": ".join(name) for name in names[:20])


def _dropped(directory: Path) -> Iterator[Section]:
    for of in inspection.droppings(directory, _EXAMPLES.value):
        note = ", ".join(f"{count:,} of {source}" for source, count in of.counts.items())
        rows = [
            [f"{one['source']}: {one['id']}", one["detail"], one["text"]] for one in of.examples
        ]
        yield Section(f"dropped: {of.reason}", ("document", "why", "text begins"), rows, note)


if __name__ == "__main__":
    run(main)
