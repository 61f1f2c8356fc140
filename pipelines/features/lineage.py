"""Which source columns a feature comes from, traced through the Ibis expression.

A feature depends on two things, and both are followed through projections, filters, joins, aggregates, windows, set
operations and subqueries:

* its value: every column that is read to compute it, including the order and partition of a window and the condition of
  a conditional aggregate;
* its rows: what decides which rows are there to be read or counted (filters, join conditions, group keys). Such columns
  count only when the contract marks them `known: later`, because `days_past_due < 90` in a filter does not make every
  feature a function of days past due, but `recoveries > 0` in a filter does leak the outcome into all of them.

A source all of whose columns but its ids are `known: later` is known later as a whole: that a row of it exists is already
the answer, so whatever reads or counts its rows depends on all those columns. The right side of a left join decides
nothing about the left side's values, until the joined rows are aggregated: then it multiplies them.

A column with `delay_days` counts like one known at the event: a view sees its values only in rows old enough to have them
(pipelines/features/views.py hides the others), so nothing it makes of them was known later.

A computed view writes its own SQL, which is not traced: each of its features counts as made from every column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import reduce

import ibis.expr.operations as ops
import ibis.expr.types as ir

from pipelines.contracts import DataFault
from pipelines.features.definitions import (
    ComputedViewDefinition,
    FeatureViewDefinition,
    LabelViewDefinition,
    closest,
    load_definitions,
    source_tables,
)
from pipelines.lake import PARTITION
from pipelines.settings import Settings
from pipelines.spec import Contract, Model, load_contract

Columns = frozenset[tuple[str, str]]
NOTHING: Columns = frozenset()

# The expression is the same on every date; lineage only needs one.
_ANY_DATE = date(2000, 1, 1)
_KEEPS_LEFT_ROWS = ("left", "any_left", "asof")

_SAME_COLUMNS = (
    *(ops.Filter, ops.Sort, ops.Limit, ops.Sample, ops.Distinct, ops.DropNull),
    *(ops.DropColumns, ops.Reference, ops.AliasedRelation),
)
_OWN_COLUMNS = (
    *(ops.UnboundTable, ops.DummyTable, ops.Project, ops.Aggregate, ops.JoinChain, ops.Set),
    *(ops.TableUnnest, ops.FillNull),
)
_TRACEABLE = (*_SAME_COLUMNS, *_OWN_COLUMNS)


def source_columns(settings: Settings, model: Model) -> dict[str, Columns]:
    """For each feature of the model, the (source, lake column) pairs it comes from. The module says what counts.

    Raises:
        DataFault: a view or feature the model names is not in feature_repo/, or a view is not pure Ibis over its sources.
    """
    definitions = load_definitions(settings)
    found: dict[str, Columns] = {}
    for view_name, features in model.features.items():
        traced = view_columns(settings, definitions.feature_view(view_name))
        for feature in features:
            if feature not in traced:
                raise DataFault(
                    f"model {model.name}: feature view {view_name} has no feature {feature!r}{closest(feature, traced)}. "
                    "Correct the model file."
                )
            found[feature] = traced[feature]
    return found


def view_columns(settings: Settings, view: FeatureViewDefinition) -> dict[str, Columns]:
    """For each output column of a view, the (source, lake column) pairs it comes from; for a computed view all there are."""
    contracts = [load_contract(settings.expectations, source) for source in view.sources]
    if isinstance(view, ComputedViewDefinition):
        return dict.fromkeys([view.token, *view.features], _every_column(contracts))
    expression = view.expression(source_tables(settings, view.sources), _ANY_DATE)
    require_traceable(view, expression)
    return trace(expression, contracts)


def trace(expression: ir.Table, contracts: Iterable[Contract]) -> dict[str, Columns]:
    """For each column of an expression over the contracts' tables, the (source, lake column) pairs it comes from."""
    tracer = _Tracer({contract.source: _known_later(contract) for contract in contracts})
    relation = expression.op()
    return {name: tracer.field(relation, name) for name in relation.schema}


def require_traceable(view: FeatureViewDefinition | LabelViewDefinition, expression: ir.Table) -> None:
    """Raise DataFault when an expression is more than Ibis over the tables its function was given."""
    relation = expression.op()
    strange = {type(r).__name__ for r in relation.find(ops.Relation) if not isinstance(r, _TRACEABLE)}
    strange |= {f"table {t.name}" for t in relation.find(ops.UnboundTable)} - {f"table {s}" for s in view.sources}
    if strange:
        raise DataFault(
            f"{view.name}: the function uses {', '.join(sorted(strange))}, which cannot be traced to its sources. "
            "Use Ibis expressions over the tables the function is given."
        )


def _every_column(contracts: Iterable[Contract]) -> Columns:
    return frozenset(
        (contract.source, contract.lake_name(name))
        for contract in contracts
        for name, column in contract.columns.items()
        if not column.protected
    )


def _known_later(contract: Contract) -> tuple[Columns, bool]:
    """The columns known later, and whether the whole source is: nothing but its ids is known at the event."""
    columns = {name: column for name, column in contract.columns.items() if not column.protected}
    later = frozenset(
        (contract.source, contract.lake_name(name))
        for name, column in columns.items()
        if column.known == "later" and column.delay_days is None
    )
    return later, contract.known_later_as_a_whole


class _Tracer:
    """Walks one expression. `known_later` holds, by source, the columns known later and whether all of it is."""

    def __init__(self, known_later: Mapping[str, tuple[Columns, bool]]) -> None:
        self._sources = known_later
        self._later: Columns = _union(columns for columns, _ in known_later.values())
        self._fields: dict[tuple[ops.Relation, str], Columns] = {}
        self._rows: dict[tuple[ops.Relation, bool], Columns] = {}

    def field(self, relation: ops.Relation, name: str) -> Columns:
        """Where one column of a relation comes from: its value, and the later-known columns that decide its rows."""
        key = (relation, name)
        if key not in self._fields:
            self._fields[key] = self._value_of_field(relation, name) | self.rows(relation, counted=False)
        return self._fields[key]

    def rows(self, relation: ops.Relation, *, counted: bool) -> Columns:
        """The later-known columns that decide which rows a relation has and, when `counted`, how many times."""
        key = (relation, counted)
        if key not in self._rows:
            self._rows[key] = self._deciding(relation, counted) & self._later
        return self._rows[key]

    def value(self, node: ops.Node) -> Columns:
        """Where a value comes from."""
        if isinstance(node, ops.Field):
            return self.field(node.rel, node.name)
        if isinstance(node, ops.Relation):
            return self._every_field(node) | self.rows(node, counted=True)
        if isinstance(node, ops.CountStar):
            return self._counted(node.arg) | (self.value(node.where) if node.where is not None else NOTHING)
        if isinstance(node, ops.ExistsSubquery):
            return self._counted(node.rel)
        own = _union(self.value(child) for child in node.__children__)
        if isinstance(node, ops.WindowFunction):
            inside = node.func.relations | _union_of(part.relations for part in (*node.group_by, *node.order_by))
            own |= _union(self.rows(relation, counted=True) for relation in inside)
        return own

    def _counted(self, relation: ops.Relation) -> Columns:
        present = frozenset((table.name, PARTITION) for table in relation.find(ops.UnboundTable))
        return present | self.rows(relation, counted=True)

    def _every_field(self, relation: ops.Relation) -> Columns:
        return _union(self.field(relation, name) for name in relation.schema)

    def _value_of_field(self, relation: ops.Relation, name: str) -> Columns:
        match relation:
            case ops.UnboundTable():
                return frozenset({(relation.name, name)})
            case ops.Aggregate() if name in relation.metrics:
                return self.value(relation.metrics[name]) | self.rows(relation.parent, counted=True)
            case ops.JoinChain():
                return self._value_of_joined(relation, relation.values[name])
            case ops.Set():
                return self.field(relation.left, name) | self.field(relation.right, name)
            case ops.TableUnnest() if name in (relation.column_name, relation.offset):
                return self.value(relation.column)
            case ops.FillNull():
                return self.field(relation.parent, name) | self._replacement(relation, name)
            case ops.Project() | ops.DummyTable() | ops.Aggregate():
                return self.value(relation.values[name])
        return self.field(relation.parent, name)

    def _value_of_joined(self, chain: ops.JoinChain, value: ops.Value) -> Columns:
        # A value taken from a joined table is the one the join condition picked.
        picked = [link.predicates for link in chain.rest if link.table in value.relations]
        conditions = _union(self.value(predicate) for predicates in picked for predicate in predicates)
        return self.value(value) | (conditions & self._later)

    def _replacement(self, relation: ops.FillNull, name: str) -> Columns:
        given = relation.replacements
        given = given.get(name) if isinstance(given, Mapping) else given
        return self.value(given) if isinstance(given, ops.Node) else NOTHING

    def _deciding(self, relation: ops.Relation, counted: bool) -> Columns:
        match relation:
            case ops.UnboundTable():
                later, whole = self._sources[relation.name]
                return later if whole else NOTHING
            case ops.Filter():
                return self.rows(relation.parent, counted=counted) | self._values(relation.predicates)
            case ops.Sort():
                return self.rows(relation.parent, counted=counted) | self._values(relation.keys)
            case ops.Aggregate():
                return self.rows(relation.parent, counted=False) | self._values(relation.groups.values())
            case ops.JoinChain():
                return self._deciding_join(relation, counted)
            case ops.Set():
                return self._deciding_set(relation, counted)
            case ops.Distinct():
                decided_by = self._every_field(relation.parent) if counted else NOTHING
                return self.rows(relation.parent, counted=False) | decided_by
            case ops.DropNull():
                columns = relation.subset or relation.parent.fields.values()
                return self.rows(relation.parent, counted=counted) | self._values(columns)
            case ops.TableUnnest():
                return self.rows(relation.parent, counted=counted) | self.value(relation.column)
            case ops.DummyTable():
                return NOTHING
        return self.rows(relation.parent, counted=counted)

    def _deciding_join(self, chain: ops.JoinChain, counted: bool) -> Columns:
        found = self.rows(chain.first, counted=counted)
        for link in chain.rest:
            if counted or link.how not in _KEEPS_LEFT_ROWS:
                found |= self.rows(link.table, counted=counted) | self._values(link.predicates)
        return found

    def _deciding_set(self, relation: ops.Set, counted: bool) -> Columns:
        sides = (relation.left, relation.right)
        found = _union(self.rows(side, counted=counted) for side in sides)
        if isinstance(relation, ops.Union) and not (counted and relation.distinct):
            return found
        return found | _union(self._every_field(side) for side in sides)

    def _values(self, nodes: Iterable[ops.Node]) -> Columns:
        return _union(self.value(node) for node in nodes)


def _union(parts: Iterable[Columns]) -> Columns:
    return reduce(frozenset.union, parts, NOTHING)


def _union_of(parts: Iterable[frozenset[ops.Relation]]) -> frozenset[ops.Relation]:
    return frozenset(relation for part in parts for relation in part)
