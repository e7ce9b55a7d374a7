"""Examples of the fields of declarations, for the JSON schema that editors and `dg` read.

Fields with a choice, a boolean or a default show these. Examples of all other fields are here, by model and field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHECKS = {"volume": {"min_rows": 100, "severity": "fail"}}
_LIMITS = {"columns": 200}
_SERVER = {"host": "db.example.com", "database": "shop", "user": "reader"}
_ROUTES = [{"to": ["shop_chat"], "areas": ["shop"]}]
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "Checks": {
        "freshness": {"warn_after_hours": 36, "fail_after_hours": 72},
        "volume": {"min_rows": 100},
        "schema": {"severity": "fail"},
        "distribution": {"ignore": ["year", "month"]},
        "control": {"country": "DE"},
    },
    "AvroMessage": {"schema_text": '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}'},
    "AgeEncryption": {"identity": {"env": "SHOP_AGE_KEY"}, "passphrase": {"env": "SHOP_AGE_PASSPHRASE"}},
    "ApiKey": {"key": {"env": "SHOP_API_KEY"}},
    "Basic": {"user": "reader", "password": {"env": "SHOP_API_PASSWORD"}},
    "Bearer": {"token": {"file": "/run/secrets/shop_token"}},
    "Channel": {"url": "${SHOP_ALERTS_URL}", "description": "The chat of the shop's data team."},
    "Column": {
        "name": "order_id",
        "source_name": "Order ID",
        "renamed_from": ["OrderNo"],
        "description": "Number of the order.",
        "date_format": "%d.%m.%Y",
        "number_format": {"decimal_mark": ",", "thousands_mark": ".", "minus": ["parentheses"], "units": ["€"]},
        "null_words": ["", "NA"],
        "expression": "coalesce(new_id, old_id)",
        "presence_of": "note",
        "default": "0",
        "tags": {"pii": "email"},
    },
    "Comparison": {"column": "sold_on", "related": "valid_from"},
    "Connections": {"connections": {"shop": {"type": "postgres", **_SERVER, "password": {"env": "SHOP_DB_PASSWORD"}}}},
    "ControlLine": {
        "pattern": "TRAILER;(?P<rows>[0-9,]+);(?P<amount>[0-9,.]+)",
        "decimal_mark": ".",
        "thousands_mark": ",",
    },
    "CsvFormat": {"thousands_mark": ",", "record_type": {"field": 1, "values": ["DTL"]}},
    "Cursor": {"cursor_at": "meta.next_cursor"},
    "FieldRecordType": {"values": ["DTL"]},
    "FixedField": {"name": "amount", "start": 7, "width": 12},
    "FixedWidthFormat": {
        "fields": [{"name": "order_id", "start": 1, "width": 6}, {"name": "amount", "start": 7, "width": 12}],
        "short_lines": "pad",
        "thousands_mark": ",",
        "record_type": {"start": 1, "width": 2, "values": ["D1"]},
    },
    "CustomRefresh": {"delete_where": "region = input.region and day >= input.day"},
    "DataProduct": {
        "description": "What the shop sells, by day and store.",
        "owner": "team:shop",
        "sources": ["orders"],
        "objectives": {"freshness": {"within": "26 hours"}, "completeness": {"target": 0.999}},
        "critical_columns": ["orders.amount"],
    },
    "DataProducts": {"products": {"sales": {"sources": ["orders"], "owner": "team:shop"}}},
    "DatabaseConnection": {
        "database": "shop",
        "table": "public.orders",
        "query": "SELECT id, total FROM orders WHERE changed_at >= coalesce({{ last_cursor }}, '-infinity')",
        "every": "15 minutes",
        "incremental": {"cursor": "changed_at", "overlap": "10 minutes"},
        "limits": _LIMITS,
    },
    "Discovery": {"every_seconds": 60, "schedule": "0 6 * * *"},
    "DistributionCheck": {"ignore": ["year", "month"], "max_null_share_increase": 0.2, "max_mean_shift": 6},
    "DuckDBDatabase": {"path": "/data/shop.duckdb"},
    "ExcelFormat": {"sheet": "Orders"},
    "ExtractTime": {"pattern": "orders_%Y-%m-%d.csv", "otherwise": "2020-01-01"},
    "FileManifest": {
        "name": "{name}.manifest",
        "rows": "counts.rows",
        "sums": {"amount": "totals.amount"},
        "size": "bytes",
        "sha256": "sha256",
    },
    "FileConnection": {
        "path": "shop/orders_*.csv",
        "manifest": {"name": "{stem}.manifest.json", "rows": "rows"},
        "format": {"type": "csv", "delimiter": ";", "null_words": ["", "NA"]},
        "members": "*/orders.csv",
        "encryption": {"type": "age", "identity": {"env": "SHOP_AGE_KEY"}},
        "extract_time": {"pattern": "orders_%Y-%m-%d.csv"},
        "storage_options": {"key": "${SHOP_KEY}", "secret": "${SHOP_SECRET}"},
        "receive": {"signature": {"secret": {"env": "SHOP_HOOK_SECRET"}, "prefix": "sha256="}},
        "limits": _LIMITS,
    },
    "Receive": {"signature": {"secret": {"env": "SHOP_HOOK_SECRET"}, "prefix": "sha256="}},
    "Signature": {"secret": {"env": "SHOP_HOOK_SECRET"}, "prefix": "sha256="},
    "FreshnessObjective": {
        "within": "26 hours",
        "hours": {"timezone": "Europe/Berlin", "begin": "08:00", "end": "18:00"},
    },
    "FullRefresh": {
        "key": ["order_id"],
        "valid_from": "updated_at",
        "ignore_changes_in": ["exported_at"],
        "update_in_place": ["last_seen"],
        "merge": {"first_channel": "first"},
    },
    "FilesTarget": {
        "path": "crm",
        "name": "{output}_{date}_{delivery}",
        "partition_by": ["country"],
        "keep": 7,
        "archive": "older",
        "storage_options": {"username": "dataops", "private_key": {"file": "/run/secrets/partner_key"}},
    },
    "Gate": {"contract": "dataops_assets.defs.shop.orders.contracts:delivered"},
    "Gates": {
        "lake": {"contract": "dataops_assets.defs.shop.orders.contracts:delivered"},
        "hub": {"contract": "dataops_assets.defs.shop.orders.contracts:enriched"},
        "current": {"contract": "dataops_assets.defs.shop.orders.contracts:current", "severity": "warn"},
        "deletes": {"max_share": 0.1},
    },
    "HttpTarget": {"api": "shop", "path": "customers/changes"},
    "Hours": {"timezone": "Europe/Berlin", "days": ["monday", "friday"], "begin": "08:00", "end": "18:00"},
    "Incidents": {
        "reopen_within": "1 day",
        "link": "https://dagster.example.com",
        "channels": {"shop_chat": {"url": "${SHOP_ALERTS_URL}"}},
        "routes": _ROUTES,
    },
    "Incremental": {
        "cursor": "changed_at",
        "overlap": "10 minutes",
        "full_every": "1 day",
        "deleted": "is_deleted",
    },
    "JsonFormat": {"records": "result.orders"},
    "NestedRecords": {"explode": ["items"]},
    "TextFormat": {
        "pattern": "(?P<at>[0-9-]+ [0-9:]+) (?P<level>[A-Z]+) (?P<message>.*)",
        "start": "[0-9]{4}-[0-9]{2}-[0-9]{2} ",
        "rest": "trace",
        "thousands_mark": ",",
    },
    "XmlFormat": {"records": "orders.order"},
    "PgpEncryption": {"keys": {"file": "/run/secrets/shop.asc"}, "passphrase": {"env": "SHOP_PGP_PASSPHRASE"}},
    "ZipEncryption": {"password": {"env": "SHOP_ZIP_PASSWORD"}},
    "YamlFormat": {"records": "result.orders"},
    "GroupDelete": {"when": "op = 'tenant_closed'", "by": ["tenant"]},
    "Objectives": {
        "freshness": {"within": "26 hours"},
        "completeness": {"target": 0.999},
        "correctness": {"target": 0.95},
        "incidents": {"within": "2 days"},
    },
    "ReplicationConnection": {
        "database": "shop",
        "table": "public.orders",
        "slot": "dataops_orders",
        "publication": "warehouse",
        "every": "5 minutes",
        "limits": _LIMITS,
    },
    "ResolutionObjective": {"within": "2 days"},
    "JsonMessage": {"at": "payload"},
    "KafkaCluster": {
        "bootstrap_servers": ["broker-1.example.com:9093"],
        "tls": "verify-full",
        "ca_file": "/etc/ssl/kafka.pem",
        "sasl": {"user": "warehouse", "password": {"env": "KAFKA_PASSWORD"}},
        "schema_registry": {"url": "https://registry.example.com"},
    },
    "KafkaConnection": {
        "cluster": "events",
        "topic": "shop.orders",
        "start": "2024-01-01",
        "every": "5 minutes",
        "value": {"type": "json", "at": "payload"},
        "key": {"type": "text"},
        "limits": _LIMITS,
    },
    "KeyRefresh": {
        "key": ["order_id"],
        "order_by": "updated_at",
        "delete_when": "op = 'D'",
        "group_deletes": [{"when": "op = 'truncate'"}],
        "ties": "delete",
        "ignore_changes_in": ["exported_at"],
        "update_in_place": ["last_seen"],
        "merge": {"*": "last", "amount": "sum", "note": {"take": "last", "when": "note_is_given"}},
    },
    "MySqlDatabase": {**_SERVER, "password": {"file": "/run/secrets/shop_db"}},
    "Output": {
        "name": "customers_for_crm",
        "area": "shop",
        "description": "All customers, for the call centre.",
        "owners": ["team:shop"],
        "from": "hub/customers",
        "key": ["customer_no"],
        "columns": [{"name": "customer_no", "of": "id"}],
        "keep_when": "country = 'DE'",
        "to": {"type": "table", "database": "shop", "table": "crm.customers"},
        "checks": {"volume": {"min_rows": 100}},
    },
    "OutputChecks": {
        "freshness": {"warn_after_hours": 36, "fail_after_hours": 72},
        "volume": {"min_rows": 100, "severity": "fail"},
    },
    "OutputColumn": {
        "name": "gross",
        "of": "amount",
        "expression": "amount * 1.19",
        "type": "decimal(12,2)",
        "description": "Amount with tax.",
    },
    "NextLink": {"link_at": "links.next"},
    "OAuth2": {
        "token_url": "https://login.example.com/token",
        "client_id": "warehouse",
        "client_secret": {"env": "SHOP_CLIENT_SECRET"},
        "scope": "orders.read",
    },
    "PageNumber": {"pages_at": "meta.pages"},
    "PlaceRecordType": {"width": 2, "values": ["D1"]},
    "PostgresDatabase": {**_SERVER, "password": {"env": "SHOP_DB_PASSWORD"}},
    "MergedColumn": {"take": "last", "when": "note <> '__debezium_unavailable_value' or note is null"},
    "ProcessControl": {"country": "DE", "new_normal": ["2024-05-01"]},
    "Publication": {
        "description": "What the shop sells, with its look-ups.",
        "owner": "team:shop",
        "tables": ["hub/orders_current", "hub/customers", "warehouse/fct_orders", "warehouse/dim_customers"],
    },
    "Publications": {"publications": {"shop": {"tables": ["hub/orders", "hub/customers"], "strict": True}}},
    "PythonFormat": {"function": "feeds.shop:records", "arguments": {"version": 3}, "count": "feeds.shop:count"},
    "PythonConnection": {"function": "feeds.shop:orders", "arguments": {"page_size": 500}, "limits": _LIMITS},
    "Relation": {
        "source": "customers",
        "on": {"customer": "id"},
        "where": [{"column": "sold_on", "is": ">=", "related": "valid_from"}],
        "as_of": "sold_at",
        "description": "Who bought.",
    },
    "RestApi": {
        "url": "https://api.example.com/v1",
        "auth": {"type": "bearer", "token": {"env": "SHOP_TOKEN"}},
        "headers": {"Accept-Language": "en"},
        "longest_wait": "2 minutes",
        "test_path": "status",
    },
    "RestConnection": {
        "api": "shop",
        "path": "orders",
        "params": {"status": "any", "sort": "id"},
        "body": {"filter": {"status": "any"}},
        "records_at": "data.items",
        "total_at": "meta.total",
        "paging": {"type": "page", "param": "page"},
        "every": "15 minutes",
        "incremental": {"cursor": "updated_at", "param": "updated_since"},
        "limits": _LIMITS,
    },
    "RestIncremental": {
        "cursor": "updated_at",
        "param": "updated_since",
        "start": "2024-01-01",
        "format": "%Y-%m-%d",
        "overlap": "10 minutes",
        "full_every": "1 day",
    },
    "Retention": {"superseded_inputs": "90 days"},
    "Route": {
        "to": ["shop_chat"],
        "owners": ["team:shop"],
        "areas": ["shop"],
        "severities": ["fail"],
        "tell": ["opened", "resolved"],
        "hours": {"timezone": "Europe/Berlin", "begin": "08:00", "end": "18:00"},
        "escalate_after": "2 hours",
        "escalate_to": ["on_call"],
    },
    "Rule": {
        "name": "margin",
        "expression": "price - cost",
        "type": "DECIMAL(12, 2)",
        "compatible": "price - coalesce(cost, 0)",
        "description": "What a sale earns.",
    },
    "Sasl": {"user": "warehouse", "password": {"env": "KAFKA_PASSWORD"}},
    "SchemaRegistry": {
        "url": "https://registry.example.com",
        "auth": {"type": "basic", "user": "reader", "password": {"env": "REGISTRY_PASSWORD"}},
    },
    "Secret": {
        "env": "SHOP_DB_PASSWORD",
        "file": "/run/secrets/shop_db",
        "aws": "shop/database",
        "vault": "secret/data/shop",
        "key": "password",
    },
    "SqliteDatabase": {"path": "/data/shop.sqlite"},
    "SequenceRefresh": {"range_by": "entry_no"},
    "Source": {
        "envelope": "debezium",
        "name": "orders",
        "area": "shop",
        "description": "One row for each order. Daily files.",
        "owners": ["team:shop"],
        "connection": {"type": "files", "path": "shop/orders_*.csv"},
        "columns": [{"name": "order_id", "type": "integer", "nullable": False}],
        "drift": {"new_column": "evolve"},
        "keep_when": "op <> 'heartbeat'",
        "refresh": {"type": "key", "key": ["order_id"]},
        "relations": {"who": {"source": "customers", "on": {"customer": "id"}}},
        "rules": [{"name": "is_large", "expression": "amount > 1000"}],
        "validations": [{"name": "amount_not_negative", "expression": "amount >= 0", "severity": "quarantine"}],
        "waits_for": [{"source": "customers", "within": "1 day"}],
        "gates": {"deletes": {"max_share": 0.1}},
        "checks": _CHECKS,
        "discovery": {"every_seconds": 60},
        "retention": {"superseded_inputs": "90 days"},
        "engine": "duckdb",
    },
    "SourceDeclaration": {
        "use": [{"template": "margin", "tokens": {"price": "net", "cost": "cost"}}],
        "for_each": "countries",
    },
    "TableTarget": {"database": "shop", "table": "crm.customers"},
    "Template": {
        "rules": [{"name": "${prefix}margin", "expression": "${price} - ${cost}"}],
        "validations": [{"name": "margin is positive", "expression": "${prefix}margin >= 0"}],
        "description": "What a sale earns.",
    },
    "Templates": {
        "templates": {"margin": {"rules": [{"name": "margin", "expression": "${price} - ${cost}"}]}},
        "parameters": {"countries": [{"country": "de", "rate": 0.19}]},
    },
    "TextFile": {
        "header_lines": [{"pattern": "HEADER;[0-9]{8}"}],
        "trailer_lines": [{"pattern": "TRAILER;(?P<rows>[0-9,]+);(?P<amount>[0-9,.]+)"}],
    },
    "NumberFormat": {"decimal_mark": ",", "thousands_mark": ".", "minus": ["before", "after"], "units": ["€", "EUR"]},
    "NamedPeriod": {
        "pattern": r"sales_(?P<from>\d{8})_(?P<through>\d{8})\.csv",
        "from": "period.from",
        "to": "period.to",
        "through": "period.through",
        "format": "%Y%m%d",
    },
    "TimestampRefresh": {"range_by": "sold_at", "period": "day"},
    "TopicTarget": {"cluster": "events", "topic": "shop.customers"},
    "Use": {"template": "margin", "tokens": {"price": "net", "cost": "cost"}},
    "Validation": {
        "name": "amount_not_negative",
        "expression": "amount >= 0",
        "unique": ["order_id"],
        "description": "A refund comes as a row of its own.",
    },
    "VolumeCheck": {"max_rows": 1_000_000, "max_change_ratio": 10},
    "Wait": {"source": "customers"},
    "Warehouse": {
        "owners": ["team:analytics"],
        "checks": _CHECKS,
        "model_checks": {"sales_weekly": _CHECKS},
    },
}


def add_examples(models: list[str], schema: dict[str, Any]) -> None:
    """Add to each property of a model's JSON schema an example; `models` are its name and those of its bases."""
    given = {field: example for model in reversed(models) for field, example in EXAMPLES.get(model, {}).items()}
    for name, part in schema.get("properties", {}).items():
        if "const" in part:
            part.setdefault("description", f"{part['const']!r} chooses this kind.")
        part.setdefault("examples", [given[name]] if name in given else _shown(part))


def _shown(part: dict[str, Any]) -> list[Any]:
    """Return the values that a property itself shows: its only value, its choices, true and false, or its default."""
    if "const" in part:
        return [part["const"]]
    if "enum" in part:
        return list(part["enum"])
    if part.get("type") == "boolean":
        return [True, False]
    return [part["default"]] if part.get("default") not in (None, "", [], {}) else []
