select
    Store as store_id,
    Date as sales_date,
    Sales as sales,
    Customers as customers,
    Open = 1 as is_open,
    Promo = 1 as has_promo,
    -- an unknown code stays as it is, to be seen by the test
    case StateHoliday
        when '0' then 'none'
        when 'a' then 'public'
        when 'b' then 'easter'
        when 'c' then 'christmas'
        else StateHoliday
    end as state_holiday,
    SchoolHoliday = 1 as is_school_holiday,
    s_input_id,
    s_row_id
from {{ hub_rows('sales', statuses=['pass', 'warn']) }}
