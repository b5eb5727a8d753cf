"""What people do at Campaign, and what is done to them there; each puts it on Campaign's records.

It knows the simulator's verbs alone.
"""

from dataclasses import dataclass, field

from tests.faults.response_loop.happened import Records
from tests.servers.house_on_campaign import MANDATOR, HouseOnCampaign


def pattern(who: str) -> str:
    """An entry of the blocklist that covers a person."""
    return who.replace("@example.org", "@*")


@dataclass
class People:
    """Everybody whom the client mails."""

    house: HouseOnCampaign
    records: Records
    mailings: list[int] = field(default_factory=list)
    campaigns: dict[str, str] = field(default_factory=dict)
    """The CRM's campaign of each mailing; empty where it has none."""

    def mailing(self, name: str) -> int:
        """A mailing is sent."""
        number = 70 + len(self.mailings)
        self.house.control.add_mailing(MANDATOR, number, name)
        self.mailings.append(number)
        self.campaigns[str(number)] = name.split(" ", 1)[0] if name[0] == "C" else ""
        return number

    def unsubscribes(self, who: str, which: int) -> None:
        """At the preference centre, or by the link of a mailing."""
        mailing = self.mailings[-which] if which else None
        self.house.control.unsubscribe(MANDATOR, [who], mailing_id=mailing)

    def bounces(self, who: str, which: int) -> None:
        """Too rarely to be out by this alone."""
        self.house.control.bounce(MANDATOR, who, "softbounce" if which else "hardbounce")

    def bounces_out(self, who: str, which: int) -> None:
        """So often that no more is sent."""
        self.house.control.bounce(MANDATOR, who, "softbounce" if which else "hardbounce", 5)

    def answers(self, who: str, _which: int) -> None:
        """By a machine: no bounce."""
        self.house.control.bounce(MANDATOR, who, "autoresponder")

    def opens(self, who: str, which: int) -> None:
        """One of the last mailings."""
        number = self.mailings[-1 - which % 3]
        self.house.control.add_event(MANDATOR, "opens", who, mailing_id=number)

    def clicks(self, who: str, which: int) -> None:
        """Into one of the last mailings."""
        number = self.mailings[-1 - which % 3]
        link = "https://shop.test/;a"
        self.house.control.add_event(MANDATOR, "clicks", who, mailing_id=number, link=link)

    def is_blocked(self, who: str, which: int) -> None:
        """By address, or by a pattern."""
        self.house.control.block(MANDATOR, [who if which else pattern(who)])

    def is_unblocked(self, who: str, _which: int) -> None:
        """Whatever entry it was."""
        self.house.control.unblock(MANDATOR, [who, pattern(who)])

    def gets_a_mailing(self, who: str, which: int) -> None:
        """And opens it at once."""
        self.mailing(f"C{20 + which} autumn" if which else "no campaign again")
        self.house.clock.advance(1)
        self.opens(who, 0)

    def campaign_forgets(self, who: str, nth: int) -> None:
        """At a live check to come Campaign lets somebody pass who is on its lists again at once."""
        at = self.house.at
        if who in self.records.unsubscribed():
            at("containsAll", nth, "resubscribe", mandator=MANDATOR, ids=[who])
            at("containsAll", nth, "unsubscribe", after=True, mandator=MANDATOR, ids=[who])
        entries = sorted({who, pattern(who)} & self.records.blocked)
        if entries:
            at("areBlacklisted", nth, "unblock", mandator=MANDATOR, entries=entries)
            at("areBlacklisted", nth, "block", after=True, mandator=MANDATOR, entries=entries)
