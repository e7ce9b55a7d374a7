{#
  Makes a view `hub.<table>` of each hub table that the selected models and tests read, at one version for the whole
  invocation. Lake tables, such as the quarantine, become views `lake.<table>` in the same way.

  DuckDB: a view over `delta_scan(<table>, version = <newest now>)`. So all models of an invocation read the same version,
  even if others are committed meanwhile. The view stays, and shows from which version the warehouse was built. Views of
  tables that the invocation does not read do not change. If a table does not exist yet, or has no rows, the view is empty
  and has the declared columns, so models of a source without inputs work. If a table was read before and is missing now,
  that is an error, because its volume may not be mounted. Snowflake: nothing to do, because the hub is published there as
  tables.

  Tables of the source `metadata` become tables `metadata.<table>`: copies of the metadata as they are when the invocation
  begins, with the declared columns. The database of the metadata, SQLite or PostgreSQL, is read by the platform.

  The versions are logged as JSON, which the platform reads from dbt's events.
#}
{% macro pin_hub() %}
  {%- do adapter.dispatch('pin_hub')() -%}
{% endmacro %}

{% macro default__pin_hub() %}{% endmacro %}

{% macro duckdb__pin_hub() %}
  {%- if execute -%}
    {%- set storage = run_query("select getvariable('dataops_storage')").rows[0][0] -%}
    {%- do run_query('create schema if not exists hub') -%}
    {%- do run_query('create schema if not exists lake') -%}
    {%- do make_records() -%}
    {%- set read = [] -%}
    {%- do add_sources_of(selected_nodes(), read) -%}
    {%- for table in graph.sources.values() if table.source_name in ('hub', 'lake') and table.unique_id in read -%}
      {%- set key = table.source_name ~ '/' ~ table.identifier -%}
      {%- set uri = adapter.escape_sql_string(storage ~ '/' ~ key) -%}
      {%- set version = version_to_read(key, uri) -%}
      {%- if version is none and was_pinned(table) and not has_log(uri) -%}
        {%- do exceptions.raise_compiler_error(
          'the table ' ~ key ~ ' was read before and is not there any more, so nothing is built as if it were empty; '
          ~ 'mount its volume or restore ' ~ uri ~ '; if it is gone for good: drop view ' ~ table.relation_name
        ) -%}
      {%- endif -%}
      {%- set rows = empty_rows(table.columns) if version is none else version_rows(uri, version) -%}
      {%- do run_query('create or replace view ' ~ table.relation_name ~ ' as ' ~ rows) -%}
      {%- do record_pinned(key, version) -%}
      {%- do log(tojson({'pinned': key, 'version': version})) -%}
    {%- endfor -%}
    {%- for table in graph.sources.values() if table.source_name == 'metadata' and table.unique_id in read -%}
      {%- do copy_metadata(table) -%}
    {%- endfor -%}
  {%- endif -%}
{% endmacro %}

{% macro copy_metadata(table) %}
  {%- set name = adapter.escape_sql_string(table.identifier) -%}
  {%- set file = run_query("select metadata_file('" ~ name ~ "')").rows[0][0] -%}
  {%- do run_query('create schema if not exists ' ~ adapter.quote(table.schema)) -%}
  {%- do run_query(
    'create or replace table ' ~ table.relation_name ~ ' as '
    ~ (file_rows(file, table.columns) if file else empty_rows(table.columns))
  ) -%}
{% endmacro %}

{# The declared columns of a file of Parquet. #}
{% macro file_rows(file, columns) -%}
  select
  {%- for column in columns.values() %}
    cast({{ adapter.quote(column.name) }} as {{ column.data_type }}) as {{ adapter.quote(column.name) }}{{ ',' if not loop.last }}
  {%- endfor %}
  from read_parquet('{{ adapter.escape_sql_string(file) }}')
{%- endmacro %}

{# The nodes that this invocation builds or tests, and the models of its unit tests: `graph` has no unit tests. #}
{% macro selected_nodes() %}
  {%- set selected = [] -%}
  {%- set unit_tested = [] -%}
  {%- for unique_id in selected_resources if unique_id.startswith('unit_test.') -%}
    {%- do unit_tested.append(unique_id.split('.')[2]) -%}
  {%- endfor -%}
  {%- for node in graph.nodes.values() if node.unique_id in selected_resources or node.name in unit_tested -%}
    {%- do selected.append(node) -%}
  {%- endfor -%}
  {{ return(selected) }}
{% endmacro %}

{# An ephemeral model is inlined in each query that reads it, so its sources are read, too. #}
{% macro add_sources_of(nodes, read) %}
  {%- for node in nodes -%}
    {%- for unique_id in node.depends_on.get('nodes', []) -%}
      {%- if unique_id in graph.sources -%}
        {%- do read.append(unique_id) -%}
      {%- elif unique_id in graph.nodes and graph.nodes[unique_id].config.materialized == 'ephemeral' -%}
        {%- do add_sources_of([graph.nodes[unique_id]], read) -%}
      {%- endif -%}
    {%- endfor -%}
  {%- endfor -%}
{% endmacro %}

{#
  The version of the variable `table_versions`, if it is given: a JSON object with a version for each table, such as
  `dataops releases versions` prints for a release. A table that it does not have is empty. Otherwise the newest version.
#}
{% macro version_to_read(key, uri) %}
  {%- set given = var('table_versions', none) -%}
  {{ return(newest_version(uri) if given is none else given.get(key)) }}
{% endmacro %}

{# Whether an earlier invocation read rows of the table. #}
{% macro was_pinned(table) %}
  {%- set views = run_query(
    "select count(*) from duckdb_views() where database_name = current_database() and schema_name = '" ~ table.schema
    ~ "' and view_name = '" ~ table.identifier ~ "' and contains(sql, 'delta_scan')"
  ).rows[0][0] -%}
  {{ return(views > 0) }}
{% endmacro %}

{% macro has_log(uri) %}
  {{ return(run_query("select count(*) from glob('" ~ uri ~ "/_delta_log/*.json')").rows[0][0] > 0) }}
{% endmacro %}

{# None if the table does not exist or has no rows: `delta_scan` refuses a table without files. #}
{% macro newest_version(uri) %}
  {%- set version = run_query(
    "select max(try_cast(parse_filename(file)[:20] as bigint)) from glob('" ~ uri ~ "/_delta_log/*.json')"
  ).rows[0][0] -%}
  {%- if version is not none -%}
    {%- set version = version | int -%}
    {%- set files = run_query(
      "select count(*) from delta_list_files('" ~ uri ~ "', version = " ~ version ~ ")"
    ).rows[0][0] -%}
  {%- endif -%}
  {{ return(version if files else none) }}
{% endmacro %}

{% macro version_rows(uri, version) -%}
  select * from delta_scan('{{ uri }}', version = {{ version }})
{%- endmacro %}

{% macro empty_rows(columns) -%}
  select
  {%- for column in columns.values() %}
    cast(null as {{ column.data_type }}) as {{ adapter.quote(column.name) }}{{ ',' if not loop.last }}
  {%- endfor %}
  where false
{%- endmacro %}
