{#
  The rows of a hub table by what the validations say of them, for a model to select from:

    select ... from {{ hub_rows('sales', statuses=['pass']) }}

  `statuses` are of pass, warn and fail. Without them those declared for the table in `vars: statuses` of dbt_project.yml
  count, and without these all that is in the hub: pass and warn. Rows that fail are kept out of the hub; they are read
  from `<source>_enriched`, in the columns that sources.yml declares for it, which both tables must have.
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

{# The graph is there once the project is parsed. #}
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
