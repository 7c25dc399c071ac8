"""Reads the words of one statement, one after the other. Pure.

A word that nobody expects makes the statement one that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from towline.adapters.mysql.ddl_plan import refuse
from towline.adapters.mysql.statements import Statement, Token
from towline.domain.errors import SourceDdl


class WordReader:
    """A place among the words of a statement."""

    def __init__(self, words: Sequence[Token], statement: Statement, *, why: str, remedy: str) -> None:
        """`why` and `remedy` are said of a word that is not expected."""
        self._words = [word for word in words if word.is_quoted or word.text != ";"]
        self.statement = statement
        self._why = why
        self._remedy = remedy
        self.at = 0

    def refused(self, why: str = "", *, remedy: str = "") -> SourceDdl:
        return refuse(self.statement, why or self._why, remedy or self._remedy)

    def word(self) -> Token | None:
        """The next one, which stays the next one."""
        return self._words[self.at] if self.at < len(self._words) else None

    def next(self) -> Token:
        word = self.word()
        if word is None:
            raise self.refused()
        self.at += 1
        return word

    def next_is(self, *words: str) -> bool:
        word = self.word()
        return word is not None and word.is_word(*words)

    def take(self, *words: str) -> bool:
        """Pass over one of these, if it is the next one."""
        if not self.next_is(*words):
            return False
        self.at += 1
        return True

    def take_all(self, *words: str) -> bool:
        """Pass over all of these, if they come next in this order."""
        following = self._words[self.at : self.at + len(words)]
        if len(following) < len(words) or not all(
            token.is_word(word) for token, word in zip(following, words, strict=True)
        ):
            return False
        self.at += len(words)
        return True

    def require(self, *words: str) -> None:
        """Pass over one of these."""
        if not self.take(*words):
            raise self.refused()

    def require_end(self) -> None:
        if self.word() is not None:
            raise self.refused()

    def name(self) -> str:
        word = self.next()
        if word.quote == "'" or (
            not word.is_quoted and not (word.text[0].isalnum() or word.text[0] in "_$" or ord(word.text[0]) > 0x7F)
        ):
            raise self.refused()
        return word.text

    def table(self) -> None:
        """Pass over the name of a table, which the statement has already."""
        self.name()
        if self.take("."):
            self.name()

    def skip_parentheses(self) -> None:
        depth = 0
        while True:
            word = self.next()
            if not word.is_quoted:
                depth += {"(": 1, ")": -1}.get(word.text, 0)
            if depth == 0:
                return
