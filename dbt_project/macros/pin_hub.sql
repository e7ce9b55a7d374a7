{#
  Makes every hub table of `sources` readable as `hub.<table>`, at one version for the whole invocation.

  DuckDB: a view over `delta_scan(<table>, version = <newest now>)`. All models of an invocation thus see the same
  version, whatever is committed meanwhile, and the view stays behind as the record of what the warehouse was built
  from. A table that does not exist yet, or has no rows, is an empty view with the declared columns, so a source without
  input breaks no model. Snowflake: the hub is published there as tables, so nothing is to be done.
#}
{% macro pin_hub() %}
  {%- do adapter.dispatch('pin_hub')() -%}
{% endmacro %}

{% macro default__pin_hub() %}{% endmacro %}

{% macro duckdb__pin_hub() %}
  {%- if execute -%}
    {%- set storage = run_query("select getvariable('dataops_storage')").rows[0][0] -%}
    {%- do run_query('create schema if not exists hub') -%}
    {%- for table in graph.sources.values() if table.source_name == 'hub' -%}
      {%- set uri = adapter.escape_sql_string(storage ~ '/hub/' ~ table.identifier) -%}
      {%- do run_query('create or replace view ' ~ table.relation_name ~ ' as ' ~ hub_rows(uri, table.columns)) -%}
    {%- endfor -%}
  {%- endif -%}
{% endmacro %}

{% macro hub_rows(uri, columns) %}
  {%- set newest = run_query(
    "select max(parse_filename(file)[:20]::ubigint) from glob('" ~ uri ~ "/_delta_log/*.json')"
  ).rows[0][0] -%}
  {%- set files = 0 -%}
  {%- if newest is not none -%}
    {%- set files = run_query(
      "select count(*) from delta_list_files('" ~ uri ~ "', version = " ~ newest ~ ")"
    ).rows[0][0] -%}
  {%- endif -%}
  {%- if files -%}
    select * from delta_scan('{{ uri }}', version = {{ newest }})
  {%- else -%}
    select
    {%- for column in columns.values() %}
      cast(null as {{ column.data_type }}) as {{ adapter.quote(column.name) }}{{ ',' if not loop.last }}
    {%- endfor %}
    where false
  {%- endif -%}
{% endmacro %}
