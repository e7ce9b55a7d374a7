{#
  Logs the profile of a table as JSON, which the platform reads from dbt's events: rows; and for each column its type,
  nulls, distinct values (estimated), minimum, maximum, mean and standard deviation; and a few rows. Two queries for each
  table. No value of a column with the tag `pii` is shown.

  `log_profile()` is the post-hook of every model; `log_profiles(models)` is an operation, for tables that are not built.
#}
{% macro log_profile() %}
  {%- if execute -%}
    {%- do log_profile_of(this, model) -%}
  {%- endif -%}
{% endmacro %}

{% macro log_profiles(models) %}
  {%- for node in graph.nodes.values() if node.unique_id in models -%}
    {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
    {%- if relation is not none -%}
      {%- do log_profile_of(relation, node) -%}
    {%- endif -%}
  {%- endfor -%}
{% endmacro %}

{% macro log_profile_of(relation, node) %}
  {%- set columns = adapter.get_columns_in_relation(relation) -%}
  {%- set personal = [] -%}
  {%- for column in node.columns.values() if 'pii' in column.tags -%}
    {%- do personal.append(column.name | lower) -%}
  {%- endfor -%}
  {%- set found = run_query(profile_query(relation, columns, personal)).rows[0] -%}
  {%- set described = [] -%}
  {%- for column in columns -%}
    {%- set at = 1 + loop.index0 * 6 -%}
    {%- do described.append({
      'name': column.name, 'type': column.dtype, 'nulls': found[at], 'distinct': found[at + 1],
      'min': found[at + 2], 'max': found[at + 3], 'mean': found[at + 4], 'stddev': found[at + 5]
    }) -%}
  {%- endfor -%}
  {%- set preview = [] -%}
  {%- for row in run_query(preview_query(relation, columns, personal)).rows -%}
    {%- do preview.append(row.values() | list) -%}
  {%- endfor -%}
  {%- do log(tojson({
    'profile_of': node.unique_id, 'asset': 'warehouse/' ~ relation.identifier, 'rows': found[0], 'columns': described,
    'preview': preview
  })) -%}
{% endmacro %}

{# All values as texts, so that each type is in the log as the engine writes it. #}
{% macro profile_query(relation, columns, personal) %}
  select
    cast(count(*) as varchar)
    {%- for column in columns %}
    , cast(count(*) - count({{ column.quoted }}) as varchar)
    , cast(approx_count_distinct({{ column.quoted }}) as varchar)
    {%- if column.name | lower in personal %}
    , cast(null as varchar)
    , cast(null as varchar)
    {%- else %}
    , cast(min({{ column.quoted }}) as varchar)
    , cast(max({{ column.quoted }}) as varchar)
    {%- endif %}
    {%- if column.is_number() and column.name | lower not in personal %}
    {#- The square of a larger number is more than a double holds, and the engine refuses the deviation. #}
    {%- set number = 'case when abs(' ~ column.quoted ~ ') < 1e140 then cast(' ~ column.quoted ~ ' as double) end' %}
    , cast(avg({{ number }}) as varchar)
    , cast(stddev_samp({{ number }}) as varchar)
    {%- else %}
    , cast(null as varchar)
    , cast(null as varchar)
    {%- endif %}
    {%- endfor %}
  from {{ relation }}
{% endmacro %}

{# A few rows, as text for the same reason. #}
{% macro preview_query(relation, columns, personal) %}
  select
    {%- for column in columns %}
    {%- set text = "'***'" if column.name | lower in personal else 'left(cast(' ~ column.quoted ~ ' as varchar), 100)' %}
    case when {{ column.quoted }} is not null then {{ text }} end as c{{ loop.index0 }}{{ ',' if not loop.last }}
    {%- endfor %}
  from {{ relation }}
  limit 10
{% endmacro %}
