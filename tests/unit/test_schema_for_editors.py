"""The JSON schema of every component describes each field and shows an example that the model takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from dataops_assets.config.data_products import DataProducts
from dataops_assets.config.databases import Connections
from dataops_assets.config.declared import Declared
from dataops_assets.config.examples import EXAMPLES
from dataops_assets.config.incidents import Incidents
from dataops_assets.config.outputs import Output
from dataops_assets.config.publications import Publications
from dataops_assets.config.templates import SourceDeclaration, Templates
from dataops_assets.config.warehouse import Warehouse

COMPONENTS = (Connections, DataProducts, Incidents, Output, Publications, SourceDeclaration, Templates, Warehouse)


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_of(field.annotation)
    for inner in get_args(annotation):
        yield from models_of(inner)


MODELS = sorted({model for component in COMPONENTS for model in models_of(component)}, key=lambda model: model.__name__)


def parts() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every property of the schemas: its model, its name, its schema."""
    for component in COMPONENTS:
        schema = component.model_json_schema()
        for model, part in {**schema.get("$defs", {}), component.__name__: schema}.items():
            for name, item in part.get("properties", {}).items():
                yield model, name, item


def test_each_field_has_a_description_and_an_example() -> None:
    found = list(parts())
    assert len(found) > 150
    assert not [(model, name) for model, name, item in found if not item.get("description") or not item["examples"]]


# what the alias of a field does to the whole model is no concern here
@pytest.mark.filterwarnings("ignore:The 'alias' attribute")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_example_is_a_value_of_its_field(model: type[BaseModel]) -> None:
    properties = model.model_json_schema()
    properties = properties.get("properties") or properties["$defs"][model.__name__]["properties"]
    for name, field in model.model_fields.items():
        for example in properties[field.alias or name]["examples"]:
            # with the constraints of the field
            TypeAdapter(Annotated[field.annotation, field]).validate_python(example)


def test_no_example_is_of_an_unknown_field() -> None:
    known = {base.__name__: base for model in MODELS for base in model.__mro__ if issubclass(base, Declared)}
    for name, examples in EXAMPLES.items():
        fields = {field.alias or key for key, field in known[name].model_fields.items()}
        assert set(examples) <= fields, name
