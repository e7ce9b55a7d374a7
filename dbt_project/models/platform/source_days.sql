with done as (
    select
        steps.source,
        cast(steps.finished_at as date) as day,
        steps.step,
        steps.seconds,
        case when steps.step = 'parse' then coalesce(steps."rows", 0) + coalesce(steps.rejected, 0) end as delivered,
        case when steps.step = 'parse' then coalesce(steps.rejected, 0) end as rejected,
        case when steps.step = 'enrich' then {{ json_number('steps.counts', 'quarantined') }} end as quarantined,
        case when steps.step = 'parse' then inputs.size end as bytes,
        case when steps.step = 'refresh' then steps.finished_at end as published_at
    from {{ source('metadata', 'processes') }} as steps
    left join {{ source('metadata', 'inputs') }} as inputs
        on steps.source = inputs.source and steps.input_id = inputs.input_id
    where steps.status = 'done'
)

select
    source,
    day,
    count(case when step = 'parse' then 1 end) as inputs,
    cast(coalesce(sum(delivered), 0) as bigint) as delivered_rows,
    cast(coalesce(sum(rejected), 0) as bigint) as rejected_rows,
    cast(coalesce(sum(quarantined), 0) as bigint) as quarantined_rows,
    1 - (coalesce(sum(rejected), 0) + coalesce(sum(quarantined), 0)) / nullif(cast(sum(delivered) as double), 0)
        as completeness,
    sum(seconds) as seconds,
    cast(coalesce(sum(bytes), 0) as bigint) as bytes,
    max(published_at) as published_at
from done
group by source, day
