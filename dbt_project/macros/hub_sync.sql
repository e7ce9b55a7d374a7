{#
  The incremental strategy `hub_sync`: makes the target equal to the model's rows, and writes only the differences.

  The rows of model and target are compared by identity (`unique_key`, by default the hub's row identity s_input_id,
  s_row_id) and by a fingerprint of the whole row. Identities that differ in any way are deleted from the target and
  inserted again, in one transaction. There is no watermark. So late commits, changed related rows and deleted rows reach
  the target, and an unchanged run writes nothing. Rows of one identity are compared as a multiset. So the target equals a
  full refresh even if a model violates its own grain (then its grain test fails).

  The number of identities that differ is logged as JSON, which the platform reads from dbt's events.
#}
{% macro get_incremental_hub_sync_sql(arg_dict) %}
  {%- set target = arg_dict['target_relation'] -%}
  {%- set rows = arg_dict['temp_relation'] -%}
  {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | list -%}
  {%- set unique_key = arg_dict['unique_key'] or ['s_input_id', 's_row_id'] -%}
  {%- set key = [unique_key] if unique_key is string else unique_key -%}
  {%- set changed = make_temp_relation(target, '__changed') -%}
  {%- do run_query(create_table_as(true, changed, changed_identities(target, rows, key, columns))) -%}
  {%- set count = run_query('select count(*) from ' ~ changed).rows[0][0] | int -%}
  {%- do log(tojson({'changed_in': model.unique_id, 'identities': count})) -%}
  {{ return(adapter.dispatch('replace_identities')(changed if count else none, target, rows, key, columns)) }}
{% endmacro %}

{# Unlike a join, GROUP BY treats nulls as equal and does not assume that the key is unique. #}
{% macro changed_identities(target, rows, key, columns) %}
  select distinct {{ key | join(', ') }}
  from (
    select {{ key | join(', ') }}, hash({{ columns | join(', ') }}) as fingerprint, 1 as balance from {{ rows }}
    union all
    select {{ key | join(', ') }}, hash({{ columns | join(', ') }}) as fingerprint, -1 as balance from {{ target }}
  ) as compared
  group by {{ key | join(', ') }}, fingerprint
  having sum(balance) <> 0
{% endmacro %}

{% macro has_identity_in(changed, rows, key) %}
  exists (
    select 1
    from {{ changed }} as changed
    where
    {%- for column in key %} {{ 'and ' if not loop.first }}changed.{{ column }} is not distinct from {{ rows }}.{{ column }}
    {%- endfor %}
  )
{% endmacro %}

{% macro default__replace_identities(changed, target, rows, key, columns) %}
  {%- if changed is none -%}
    select 'unchanged'
  {%- else -%}
    delete from {{ target }} as stale where {{ has_identity_in(changed, 'stale', key) }};
    insert into {{ target }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from {{ rows }} as fresh where {{ has_identity_in(changed, 'fresh', key) }};
  {%- endif -%}
{% endmacro %}

{# A temporary table is in memory and stays until the connection closes, and the connection is used for the next model. #}
{% macro duckdb__replace_identities(changed, target, rows, key, columns) %}
  {{ default__replace_identities(changed, target, rows, key, columns) }};
  drop table {{ rows }};
{% endmacro %}

{# By default Snowflake commits each statement separately. #}
{% macro snowflake__replace_identities(changed, target, rows, key, columns) %}
  {{- snowflake_dml_explicit_transaction(default__replace_identities(changed, target, rows, key, columns)) -}}
{% endmacro %}
