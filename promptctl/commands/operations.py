"""Operations: what was changed, by photos that were sorted and contexts that were stored, and what is taken back."""

from __future__ import annotations

from promptctl import checks
from promptctl.report import ListedOperation, OperationsReport
from promptctl.store.journal import Head, Journal
from promptctl.store.store import Store


def operations(last: int | None = 20, *, store: Store | None = None) -> OperationsReport:
    """What the journal has, the newest first.

    last     so many; None: all
    store    whose journal; None: the store of PROMPTCTL_HOME
    raises   BadSetting, BadJournal and its kinds, StorageFailed
    """
    if last is not None:
        last = checks.whole("last", last, 1, checks.MOST, 20)
    journal = Journal((store or Store()).home)
    heads = journal.heads()
    gone = journal.taken_back(heads)
    shown = [head for head in heads if not head.did_nothing]
    listed = tuple(_listed(journal, head, gone.get(head.number)) for head in shown[:last])
    return OperationsReport(listed, len(shown))


def _listed(journal: Journal, head: Head, taken_back_by: int | None) -> ListedOperation:
    return ListedOperation(
        number=head.number,
        when=head.when.isoformat(),
        kind=head.kind,
        words=head.words,
        done=head.done if head.ended else None,
        left=head.left if head.ended else None,
        of=head.of,
        taken_back_by=taken_back_by,
        running=not head.ended and journal.is_running(head.number),
        interrupted=not head.ended,
        origin=head.origin,
    )
