select
    {{ date_from_parts('year', 'month', 'day') }} as flight_date,
    time_hour as departure_hour,
    case
        when hour < 6 then 'night'
        when hour < 12 then 'morning'
        when hour < 18 then 'afternoon'
        when hour < 24 then 'evening'
    end as day_part,
    carrier,
    flight as flight_number,
    tailnum as tail_number,
    origin,
    dest as destination,
    dep_delay as departure_delay_minutes,
    arr_delay as arrival_delay_minutes,
    delay_category as outcome,
    air_time as air_time_minutes,
    distance as distance_miles,
    plane_age as plane_age_years,
    origin_wind_speed as origin_wind_speed_mph,
    origin_visibility as origin_visibility_miles,
    is_bad_weather,
    s_input_id,
    s_row_id
from {{ source('hub', 'flights_current') }}
