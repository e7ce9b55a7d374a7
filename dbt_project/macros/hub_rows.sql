{#
  The rows of a hub table with the given row statuses, for the FROM of a model:

    select ... from {{ hub_rows('sales', statuses=['pass']) }}

  `statuses` may contain pass, warn and fail. The default is declared for the table in `vars: statuses` of
  dbt_project.yml; without it, it is pass and warn: all rows of the hub. Rows that fail are kept out of the hub. They are
  read from `<source>_enriched`, with the columns that sources.yml declares for it; both tables must have these columns.
#}
{% macro hub_rows(table, statuses=none) -%}
  {%- set known = ['pass', 'warn', 'fail'] -%}
  {%- set wanted = statuses if statuses is not none else var('statuses', {}).get(table, ['pass', 'warn']) -%}
  {%- if wanted is string or not wanted or wanted | reject('in', known) | list -%}
    {%- do exceptions.raise_compiler_error("hub_rows('" ~ table ~ "') got the statuses " ~ wanted ~ "; known: " ~ known) -%}
  {%- endif -%}
  {%- set in_hub = wanted | reject('equalto', 'fail') | list -%}
  {%- set hub = source('hub', table) -%}
  {%- set condition = '' if in_hub | unique | list | length == 2 else " where s_status = '" ~ in_hub | first ~ "'" -%}
  {%- if 'fail' not in wanted -%}
    (select * from {{ hub }}{{ condition }}) as {{ adapter.quote(table) }}
  {%- else -%}
    {%- set enriched = (table[:-8] if table.endswith('_current') else table) ~ '_enriched' -%}
    {%- set failed = source('hub', enriched) -%}
    {%- set names = declared_columns(enriched) -%}
    (
    {%- if in_hub %}
      select {{ names }} from {{ hub }}{{ condition }}
      union all
    {%- endif %}
      select {{ names }} from {{ failed }} where s_status = 'fail'
    ) as {{ adapter.quote(table) }}
  {%- endif -%}
{%- endmacro %}

{# The graph exists only after the project is parsed. #}
{% macro declared_columns(table) -%}
  {%- set names = [] -%}
  {%- if execute -%}
    {%- for found in graph.sources.values() if found.source_name == 'hub' and found.name == table -%}
      {%- for column in found.columns.values() -%}
        {%- do names.append(adapter.quote(column.name)) -%}
      {%- endfor -%}
    {%- endfor -%}
  {%- endif -%}
  {{ return(names | join(', ') or '*') }}
{%- endmacro %}
