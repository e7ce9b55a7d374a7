select
    incident_id,
    area,
    source,
    asset,
    kind,
    severity,
    state,
    summary,
    "rows" as rows_concerned,
    began_at,
    opened_at,
    acknowledged_by,
    resolved_at,
    reopened,
    seconds_to_detect / 3600 as hours_to_detect,
    seconds_to_acknowledge / 3600 as hours_to_acknowledge,
    seconds_to_resolve / 3600 as hours_to_resolve
from {{ source('metadata', 'incidents') }}
where joined is null
