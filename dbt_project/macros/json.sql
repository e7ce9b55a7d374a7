{# A number in a text that is a JSON object; null if it is not there. #}
{% macro json_number(column, key) -%}
  {{ return(adapter.dispatch('json_number')(column, key)) }}
{%- endmacro %}

{% macro default__json_number(column, key) -%}
  {{ return("cast(json_extract_string(" ~ column ~ ", '$." ~ key ~ "') as bigint)") }}
{%- endmacro %}

{% macro snowflake__json_number(column, key) -%}
  {{ return("try_parse_json(" ~ column ~ "):" ~ key ~ "::bigint") }}
{%- endmacro %}

{#
  The rows of a table, each repeated for every item of a column with a text that is a JSON list: as `item`, with its number
  from 1 as `number`.
#}
{% macro json_items(relation, column) -%}
  {{ return(adapter.dispatch('json_items')(relation, column)) }}
{%- endmacro %}

{% macro default__json_items(relation, column) -%}
  (select listed.*, unnest(json_extract({{ column }}, '$[*]')) as item,
    generate_subscripts(json_extract({{ column }}, '$[*]'), 1) as number
  from {{ relation }} as listed)
{%- endmacro %}

{% macro snowflake__json_items(relation, column) -%}
  (select listed.*, items.value as item, items.index + 1 as number
  from {{ relation }} as listed, lateral flatten(input => try_parse_json({{ column }})) as items)
{%- endmacro %}

{# The item of a JSON list at a place from 0, as text; null if it is null. #}
{% macro json_at(item, place) -%}
  {{ return(adapter.dispatch('json_at')(item, place)) }}
{%- endmacro %}

{% macro default__json_at(item, place) -%}
  {{ return("json_extract_string(" ~ item ~ ", '$[" ~ place ~ "]')") }}
{%- endmacro %}

{% macro snowflake__json_at(item, place) -%}
  {{ return(item ~ "[" ~ place ~ "]::varchar") }}
{%- endmacro %}
