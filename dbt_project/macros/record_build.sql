{#
  Records of what a model is built, in the transaction that builds it: the versions of the hub and lake tables that it
  reads, and the builds of the models that it reads. Publications follow it: they show a model only together with the very
  versions that it was built of. It is the post-hook of every model.

  DuckDB: tables `dataops.built` and `dataops.pinned` of the warehouse. Snowflake: nothing to do.
#}
{% macro record_build() %}
  {%- if execute -%}
    {%- do adapter.dispatch('record_build')() -%}
  {%- endif -%}
{% endmacro %}

{% macro default__record_build() %}{% endmacro %}

{% macro duckdb__record_build() %}
  {%- set tables = [] -%}
  {%- set models = [] -%}
  {%- do add_reads_of(model, tables, models) -%}
  {%- set key = adapter.escape_sql_string('warehouse/' ~ this.identifier) -%}
  {%- do run_query("delete from dataops.built where model = '" ~ key ~ "'") -%}
  {%- do run_query(
    "insert into dataops.built select '" ~ key ~ "', cast(uuid() as varchar), "
    ~ ('true' if config.get('materialized') == 'view' else 'false') ~ ", now(), "
    ~ json_of('asset', 'version', 'dataops.pinned', tables) ~ ", "
    ~ json_of('model', 'build_id', 'dataops.built', models)
  ) -%}
{% endmacro %}

{# A JSON object of two columns, for the rows with these keys. #}
{% macro json_of(key, value, table, keys) -%}
  {%- if not keys -%}
    '{}'
  {%- else -%}
    (select coalesce(cast(json_group_object({{ key }}, {{ value }}) as varchar), '{}') from {{ table }} where {{ key }} in (
    {%- for name in keys -%}
      '{{ adapter.escape_sql_string(name) }}'{{ ', ' if not loop.last }}
    {%- endfor -%}
    ))
  {%- endif -%}
{%- endmacro %}

{#
  The tables and models that a node reads, as asset keys. An ephemeral model is inlined, so those that it reads are meant;
  a view stores no rows, so those that it reads are meant, too.
#}
{% macro add_reads_of(node, tables, models) %}
  {%- for unique_id in node.depends_on.get('nodes', []) -%}
    {%- if unique_id in graph.sources -%}
      {%- set table = graph.sources[unique_id] -%}
      {%- if table.source_name in ('hub', 'lake') -%}
        {%- do tables.append(table.source_name ~ '/' ~ table.identifier) -%}
      {%- endif -%}
    {%- elif unique_id in graph.nodes and graph.nodes[unique_id].resource_type == 'model' -%}
      {%- set parent = graph.nodes[unique_id] -%}
      {%- if parent.config.materialized != 'ephemeral' -%}
        {%- do models.append('warehouse/' ~ parent.alias) -%}
      {%- endif -%}
      {%- if parent.config.materialized in ('ephemeral', 'view') -%}
        {%- do add_reads_of(parent, tables, models) -%}
      {%- endif -%}
    {%- endif -%}
  {%- endfor -%}
{% endmacro %}

{# Made before all else, because models are built side by side. #}
{% macro make_records() %}
  {%- do run_query('create schema if not exists dataops') -%}
  {%- do run_query(
    'create table if not exists dataops.built (model varchar, build_id varchar, is_view boolean, built_at timestamptz, '
    ~ 'versions varchar, parents varchar)'
  ) -%}
  {%- do run_query('create table if not exists dataops.pinned (asset varchar, version bigint)') -%}
{% endmacro %}

{% macro record_pinned(key, version) %}
  {%- set name = adapter.escape_sql_string(key) -%}
  {%- do run_query("delete from dataops.pinned where asset = '" ~ name ~ "'") -%}
  {%- do run_query("insert into dataops.pinned values ('" ~ name ~ "', " ~ ('null' if version is none else version) ~ ")") -%}
{% endmacro %}
