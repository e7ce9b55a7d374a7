{#
  The versions of a hub table with history, for the FROM of a model: all columns of the table, and these besides:

    select ... from {{ hub_versions('stores', valid_from='valid_from', valid_to='valid_to',
                                    open_end="timestamp '9999-12-31'", version_key='store_version') }}

  * valid_from, valid_to: names of the beginning and of the end of a version, half-open; none for no such column.
  * open_end: SQL of the end of a version that has none; without it, null.
  * version_key: name of a surrogate key, a text that is equal for equal inputs; none for no such column.
  * deletions: whether the versions in which the key is deleted are among the rows.

  Defaults of a project are in `vars: {versions: {valid_from: ..., ...}}` of dbt_project.yml.
#}
{% macro hub_versions(table, valid_from=none, valid_to=none, open_end=none, version_key=none, deletions=none) -%}
  {%- set declared = var('versions', {}) -%}
  {%- set known = ['valid_from', 'valid_to', 'open_end', 'version_key', 'deletions'] -%}
  {%- if declared.keys() | reject('in', known) | list -%}
    {%- do exceptions.raise_compiler_error("vars.versions has " ~ declared.keys() | list ~ "; known: " ~ known) -%}
  {%- endif -%}
  {%- set begin = valid_from if valid_from is not none else declared.get('valid_from') -%}
  {%- set end = valid_to if valid_to is not none else declared.get('valid_to') -%}
  {%- set last = open_end if open_end is not none else declared.get('open_end') -%}
  {%- set key = version_key if version_key is not none else declared.get('version_key') -%}
  {%- set deleted = deletions if deletions is not none else declared.get('deletions', false) -%}
    (select h.*
      {%- if begin %}, h.s_valid_from as {{ adapter.quote(begin) }}{% endif %}
      {%- if end %}, {{ "coalesce(h.s_valid_to, " ~ last ~ ")" if last else "h.s_valid_to" }} as {{ adapter.quote(end) }}{% endif %}
      {%- if key %}, md5(h.s_key || '|' || h.s_input_id || '|' || cast(h.s_row_id as varchar)) as {{ adapter.quote(key) }}{% endif %}
      from {{ source('hub', table) }} as h{{ '' if deleted else ' where not h.s_is_deleted' }}) as {{ adapter.quote(table) }}
{%- endmacro %}

{#
  The condition that a version was valid at a moment: for a join of two tables in time, and for a table as of a moment.

    left join {{ hub_versions('stores') }} on stores.store = sales.store and {{ valid_at('sales.sold_at', 'stores') }}

    select * from {{ hub_versions('stores') }} where {{ valid_at("timestamptz '2024-01-01 00:00:00+00'", 'stores') }}

  `moment` has the type of `s_valid_from`. At one moment each key has at most one version, so a join adds no rows.
#}
{% macro valid_at(moment, versions) -%}
  ({{ moment }} >= {{ versions }}.s_valid_from and ({{ versions }}.s_valid_to is null or {{ moment }} < {{ versions }}.s_valid_to) and not {{ versions }}.s_is_deleted)
{%- endmacro %}
