select
    origin as airport,
    time_hour as observed_at,
    temp as temperature_fahrenheit,
    humid as humidity_percent,
    wind_speed as wind_speed_mph,
    precip as precipitation_inches,
    visib as visibility_miles,
    s_input_id,
    s_row_id
from {{ source('hub', 'weather') }}
