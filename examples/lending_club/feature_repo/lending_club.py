"""What an applicant for a Lending Club loan stated and what the credit bureau said, and whether the loan was charged off.

Left out on purpose: the lender's own grade, rate and checks (a model of the applicant must not lean on the judgement it is
to replace), the state and ZIP code (a stand-in for origin: redlining), the free texts, and everything that came later.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view, label_view

PAID_WITHIN_DAYS = 31  # payments carry the first day of their month
CHARGED_OFF_WITHIN_DAYS = 31 + 150  # the next instalment falls due in a month, and 150 days late it is charged off


@feature_view(entity="loan", sources=("lending_club_loans",), ttl_days=31, history_days=31)
def application(lending_club_loans: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """The application and the bureau's answer, for each loan of the business date's month."""
    loans = lending_club_loans.filter(lending_club_loans.business_date == business_date)
    return loans.select(
        loan_token=loans.loan_token,
        term_months=loans.term,
        purpose=loans.purpose,
        home_ownership=loans.home_ownership,
        employment_years=_years(loans.emp_length),
        annual_income=loans.annual_inc,
        debt_to_income=loans.dti,
        loan_to_income=loans.loan_amnt / loans.annual_inc,
        loan_to_revolving_limit=loans.loan_amnt / _revolving_limit(loans),
        revolving_balance_to_income=loans.revol_bal / loans.annual_inc,
        revolving_utilisation=loans.revol_util,
        credit_history_years=loans.issue_d.delta(loans.earliest_cr_line, unit="day") / 365.25,
        inquiries_6m=loans.inq_last_6mths,
        delinquencies_24m=loans.delinq_2yrs,
        months_since_delinquency=_months_since(loans.mths_since_last_delinq, loans.delinq_2yrs),
        months_since_public_record=_months_since(loans.mths_since_last_record, loans.pub_rec),
        public_records=loans.pub_rec,
        bankruptcies=loans.pub_rec_bankruptcies,
        open_accounts=loans.open_acc,
        total_accounts=loans.total_acc,
    )


@label_view(entity="loan", sources=("lending_club_loans",))
def charged_off(lending_club_loans: ir.Table) -> ir.Table:
    """1 when the loan was charged off, known when that must have happened; 0 when it was paid back, known with the last
    payment."""
    loans = lending_club_loans
    lost = loans.loan_status.endswith("Charged Off")
    last_payment = loans.last_pymnt_d.coalesce(loans.issue_d)
    return loans.select(
        loan_token=loans.loan_token,
        event_date=loans.business_date,
        label=lost.cast("int8"),
        known_at=ibis.ifelse(
            lost,
            last_payment + ibis.interval(days=CHARGED_OFF_WITHIN_DAYS),
            last_payment + ibis.interval(days=PAID_WITHIN_DAYS),
        ),
    )


def _years(emp_length: ir.StringValue) -> ir.IntegerValue:
    """Whole years, 0 for less than one; absent when no employment was stated."""
    digits = emp_length.re_extract("[0-9]+", 0).nullif("").cast("int64")
    return ibis.ifelse(emp_length.startswith("<"), 0, digits)


def _revolving_limit(loans: ir.Table) -> ir.NumericValue:
    """Absent where nothing is drawn, as utilisation then says nothing about the limit."""
    return (loans.revol_bal / loans.revol_util.nullif(0)).nullif(0)


def _months_since(months: ir.IntegerValue, events: ir.IntegerValue) -> ir.IntegerValue:
    """Absent where there was no such event: until 2008 the file says 0 months then."""
    return ibis.ifelse((months == 0) & (events == 0), ibis.null("int64"), months)
