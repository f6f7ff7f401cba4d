"""Registered schemas come back as they were, under an id that their content decides."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from serve.errors import InvalidRequest, NotFound
from serve.settings import Settings
from sql_assistant import schema_store
from sql_assistant.schema import Column, ForeignKey, Schema, Table
from sql_assistant.schema_store import SchemaStore

SHOP = Schema(
    (
        Table(
            "orders",
            (Column("id", "INTEGER", nullable=False), Column("größe", "TEXT", comment="in cm \ud800")),
            schema="main",
            primary_key=("id",),
            foreign_keys=(ForeignKey(("customer_id",), "customers", ("id",)),),
            comment="one a purchase",
        ),
        Table("open_orders", (), is_view=True),
    ),
    dialect="postgres",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_a_schema_comes_back_whole_after_a_restart(settings: Settings) -> None:
    added = SchemaStore.open(settings).add("shop", SHOP)
    assert re.fullmatch("sch_[0-9a-f]{16}", added.id)
    found = SchemaStore.open(settings).get(added.id)
    assert found == added
    assert found.schema == SHOP


def test_registering_again_gives_the_same_id_and_keeps_the_date(settings: Settings) -> None:
    store = SchemaStore.open(settings)
    first = store.add("shop", SHOP)
    assert SchemaStore.open(settings).add("shop", SHOP) == first
    others = [
        store.add("Shop", SHOP),
        store.add("shop", Schema(SHOP.tables, "mysql")),
        store.add("shop", Schema(SHOP.tables[::-1], "postgres")),
    ]
    assert len({first.id, *(other.id for other in others)}) == 4
    assert {stored.id for stored in store.list()} == {first.id, *(other.id for other in others)}


def test_deleted_and_unknown_schemas_are_not_found(settings: Settings) -> None:
    store = SchemaStore.open(settings)
    stored = store.add("shop", SHOP)
    assert store.delete(stored.id) == stored
    for ask in (store.get, store.delete):
        with pytest.raises(NotFound, match="POST /v1/sql/schemas"):
            ask(stored.id)
        for odd in ("", "\0", "\ud800", "' OR 1=1"):
            with pytest.raises(NotFound):
                ask(odd)
    assert store.list() == []
    assert store.add("shop", SHOP).id == stored.id


@pytest.mark.parametrize("name", ["", "  ", "a\0", "\ud800", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(InvalidRequest):
        SchemaStore.open(settings).add(name, SHOP)


def test_get_answers_from_memory_with_the_same_object(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SchemaStore.open(settings)
    stored = store.add("shop", SHOP)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_read", None)  # any read of the database would fail
        assert all(store.get(stored.id) is store.get(stored.id) for _ in range(100))
    # Once the trust is over the database is asked again, and the object still stays the same.
    monkeypatch.setattr(schema_store, "_TRUST_S", 0.0)
    assert store.get(stored.id) is store.get(stored.id)


def test_what_another_process_deleted_is_gone_after_a_while(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = SchemaStore.open(settings), SchemaStore.open(settings)
    stored = here.add("shop", SHOP)
    assert there.get(stored.id) == stored
    here.delete(stored.id)
    monkeypatch.setattr(schema_store, "_TRUST_S", 0.0)
    with pytest.raises(NotFound):
        there.get(stored.id)


def test_threads_may_share_a_store(settings: Settings) -> None:
    store = SchemaStore.open(settings)
    found: list[str] = []

    def use(number: int) -> None:
        stored = store.add(f"shop {number % 3}", SHOP)
        found.append(store.get(stored.id).name)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"shop {number % 3}" for number in range(12))
    assert len(store.list()) == 3
