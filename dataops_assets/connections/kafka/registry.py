"""Asks a schema registry for the schemas of messages. A schema never changes under its id; it is stored with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.config.limits import Limits
from dataops_assets.config.rest import RestApi
from dataops_assets.connections.rest.client import Content, NotFound, Patience, RestClient
from dataops_assets.connections.rest.signing import signing_of
from dataops_assets.errors import ConfigError, InputError

_LONGEST_WAIT = 10.0


class Registry:
    """The registry of a cluster. Each schema is asked for once."""

    def __init__(self, cluster: KafkaCluster, variables: Mapping[str, str]) -> None:
        """Reads the secret. Raises ConfigError if it is not there, or the cluster declares no registry."""
        declared = cluster.schema_registry
        if declared is None:
            raise ConfigError(
                "looking for the schemas of messages",
                received="a cluster without schema_registry",
                next_step="declare schema_registry at the cluster, or schema_text at the source",
            )
        api = RestApi(type="rest", url=declared.url, auth=declared.auth, tries=3)
        self._url = declared.url.rstrip("/")
        self._client = RestClient(api, signing_of(api, variables), Patience(_LONGEST_WAIT), Limits().document_bytes)
        self._known: dict[str, str] = {}

    def schemas(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the texts of schemas by their ids; an id that the registry does not know is left out.

        Raises StorageError if it does not answer, ConfigError if it refuses or a schema is no plain Avro.
        """
        found = {}
        for number in sorted(set(ids), key=int):
            if number not in self._known:
                try:
                    self._known[number] = self._asked(number)
                except NotFound:
                    continue
            found[number] = self._known[number]
        return found

    def registered(self, subject: str, text: str) -> int:
        """Register a schema, if it is not there, and return its id.

        Raises StorageError if the registry does not answer, ConfigError if it refuses the schema.
        """
        address = f"{self._url}/subjects/{quote(subject, safe='')}/versions"
        body = self._client.send(address, Content("POST", json.dumps({"schema": text}).encode())).body
        number = body.get("id") if isinstance(body, Mapping) else None
        if not isinstance(number, int):
            raise ConfigError(
                f"registering the schema {subject!r}",
                received="an answer without an id",
                next_step="check the url of schema_registry",
            )
        return number

    def require_answer(self) -> None:
        """Ask for something that every registry has. Raises StorageError or ConfigError if it does not answer."""
        self._client.get(f"{self._url}/subjects", {})

    def close(self) -> None:
        """Close the connections."""
        self._client.session.close()

    def _asked(self, number: str) -> str:
        address = f"{self._url}/schemas/ids/{number}"
        body = self._client.get(address, {}).body
        text = body.get("schema") if isinstance(body, Mapping) else None
        if not isinstance(text, str):
            raise InputError(f"asking {address}", received="no schema", next_step="check the url of schema_registry")
        kind = body.get("schemaType", "AVRO")
        if kind != "AVRO" or body.get("references"):
            raise ConfigError(
                f"asking {address}",
                received=f"a schema of type {kind}" if kind != "AVRO" else "a schema that refers to others",
                known=["an Avro schema that is complete in itself"],
                next_step="declare the value as json or text, or register the complete schema",
            )
        return text
