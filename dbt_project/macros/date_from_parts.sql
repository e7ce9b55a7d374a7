{# A date from integer year, month and day columns. #}
{% macro date_from_parts(year, month, day) %}
  {{- return(adapter.dispatch('date_from_parts')(year, month, day)) -}}
{% endmacro %}

{% macro default__date_from_parts(year, month, day) -%}
  date_from_parts({{ year }}, {{ month }}, {{ day }})
{%- endmacro %}

{% macro duckdb__date_from_parts(year, month, day) -%}
  make_date({{ year }}, {{ month }}, {{ day }})
{%- endmacro %}
