"""The files a person writes, as typed frozen objects: models/*.yaml, expectations/*.yaml and policies/*.yaml.

Standard library, pydantic and yaml only, so a DAG file may read them. Every error names the file, the key and the
remedy. Unknown keys are refused with the closest known name; thresholds have no default in code.
"""

from pipelines.spec.activity import ActivityLimits
from pipelines.spec.alerting import AlertLimits
from pipelines.spec.base import Strict, closest
from pipelines.spec.documentation import SECTIONS, DocumentationMap, Framework, Heading, Section
from pipelines.spec.foreign import Confinement, ForeignFormat, ForeignModels, OnnxLimits, PackageLimits, SkopsLimits
from pipelines.spec.gates import (
    GATES,
    Approvals,
    Approvers,
    Domain,
    Fairness,
    Gate,
    Measuring,
    ProtectedAttribute,
    Review,
    Rule,
    Scenario,
    Shift,
    StampedRule,
    Tier,
)
from pipelines.spec.loading import (
    load_activity_limits,
    load_contract,
    load_documentation_map,
    load_foreign_models,
    load_model,
    load_network_limits,
    load_policy,
    load_typologies,
    model_names,
)
from pipelines.spec.model import Feature, Label, Model, Schedule, Training, Validation
from pipelines.spec.network import NetworkLimits
from pipelines.spec.policy import Policy, PolicyFile, ScoringLimits, TrainingLimits
from pipelines.spec.reasons import Reason, Reasons
from pipelines.spec.source import (
    BusinessDateRule,
    Column,
    Contract,
    Expectation,
    FilesLocation,
    Freshness,
    PostgresLocation,
    Reference,
    Volume,
)
from pipelines.spec.typologies import Condition, EvidenceFilter, Typology, TypologyPack

__all__ = [
    "GATES",
    "SECTIONS",
    "ActivityLimits",
    "AlertLimits",
    "Approvals",
    "Approvers",
    "BusinessDateRule",
    "Column",
    "Condition",
    "Confinement",
    "Contract",
    "DocumentationMap",
    "Domain",
    "EvidenceFilter",
    "Expectation",
    "Fairness",
    "Feature",
    "FilesLocation",
    "ForeignFormat",
    "ForeignModels",
    "Framework",
    "Freshness",
    "Gate",
    "Heading",
    "Label",
    "Measuring",
    "Model",
    "NetworkLimits",
    "OnnxLimits",
    "PackageLimits",
    "Policy",
    "PolicyFile",
    "PostgresLocation",
    "ProtectedAttribute",
    "Reason",
    "Reasons",
    "Reference",
    "Review",
    "Rule",
    "Scenario",
    "Schedule",
    "ScoringLimits",
    "Section",
    "Shift",
    "SkopsLimits",
    "StampedRule",
    "Strict",
    "Tier",
    "Training",
    "TrainingLimits",
    "Typology",
    "TypologyPack",
    "Validation",
    "Volume",
    "closest",
    "load_activity_limits",
    "load_contract",
    "load_documentation_map",
    "load_foreign_models",
    "load_model",
    "load_network_limits",
    "load_policy",
    "load_typologies",
    "model_names",
]
