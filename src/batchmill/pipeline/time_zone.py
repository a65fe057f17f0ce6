"""`TimeZone`: the time zones of recurrences, under their Windows names (Azure ML: ``azureml.pipeline.core.schedule.TimeZone``)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from batchmill.errors import UsageError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


class TimeZone(Enum):
    """A time zone; its value is the name that Windows has for it.

    ``iana`` is what it is called everywhere else, as CLDR maps the names (windowsZones, territory 001). Mid-Atlantic and Kamchatka, which
    Windows keeps for old settings and CLDR leaves out, are the zones with their offset.

    >>> TimeZone("Tokyo Standard Time").iana
    'Asia/Tokyo'
    """

    iana: str

    def __new__(cls, windows: str, iana: str) -> TimeZone:
        member = object.__new__(cls)
        member._value_ = windows
        member.iana = iana
        return member

    DatelineStandardTime = "Dateline Standard Time", "Etc/GMT+12"
    UTC11 = "UTC-11", "Etc/GMT+11"
    AleutianStandardTime = "Aleutian Standard Time", "America/Adak"
    HawaiianStandardTime = "Hawaiian Standard Time", "Pacific/Honolulu"
    MarquesasStandardTime = "Marquesas Standard Time", "Pacific/Marquesas"
    AlaskanStandardTime = "Alaskan Standard Time", "America/Anchorage"
    UTC09 = "UTC-09", "Etc/GMT+9"
    PacificStandardTimeMexico = "Pacific Standard Time (Mexico)", "America/Tijuana"
    UTC08 = "UTC-08", "Etc/GMT+8"
    PacificStandardTime = "Pacific Standard Time", "America/Los_Angeles"
    USMountainStandardTime = "US Mountain Standard Time", "America/Phoenix"
    MountainStandardTimeMexico = "Mountain Standard Time (Mexico)", "America/Mazatlan"
    MountainStandardTime = "Mountain Standard Time", "America/Denver"
    CentralAmericaStandardTime = "Central America Standard Time", "America/Guatemala"
    CentralStandardTime = "Central Standard Time", "America/Chicago"
    EasterIslandStandardTime = "Easter Island Standard Time", "Pacific/Easter"
    CentralStandardTimeMexico = "Central Standard Time (Mexico)", "America/Mexico_City"
    CanadaCentralStandardTime = "Canada Central Standard Time", "America/Regina"
    SAPacificStandardTime = "SA Pacific Standard Time", "America/Bogota"
    EasternStandardTimeMexico = "Eastern Standard Time (Mexico)", "America/Cancun"
    EasternStandardTime = "Eastern Standard Time", "America/New_York"
    HaitiStandardTime = "Haiti Standard Time", "America/Port-au-Prince"
    CubaStandardTime = "Cuba Standard Time", "America/Havana"
    USEasternStandardTime = "US Eastern Standard Time", "America/Indiana/Indianapolis"
    TurksAndCaicosStandardTime = "Turks And Caicos Standard Time", "America/Grand_Turk"
    ParaguayStandardTime = "Paraguay Standard Time", "America/Asuncion"
    AtlanticStandardTime = "Atlantic Standard Time", "America/Halifax"
    VenezuelaStandardTime = "Venezuela Standard Time", "America/Caracas"
    CentralBrazilianStandardTime = "Central Brazilian Standard Time", "America/Cuiaba"
    SAWesternStandardTime = "SA Western Standard Time", "America/La_Paz"
    PacificSAStandardTime = "Pacific SA Standard Time", "America/Santiago"
    NewfoundlandStandardTime = "Newfoundland Standard Time", "America/St_Johns"
    TocantinsStandardTime = "Tocantins Standard Time", "America/Araguaina"
    ESouthAmericaStandardTime = "E. South America Standard Time", "America/Sao_Paulo"
    SAEasternStandardTime = "SA Eastern Standard Time", "America/Cayenne"
    ArgentinaStandardTime = "Argentina Standard Time", "America/Argentina/Buenos_Aires"
    GreenlandStandardTime = "Greenland Standard Time", "America/Nuuk"
    MontevideoStandardTime = "Montevideo Standard Time", "America/Montevideo"
    SaintPierreStandardTime = "Saint Pierre Standard Time", "America/Miquelon"
    BahiaStandardTime = "Bahia Standard Time", "America/Bahia"
    UTC02 = "UTC-02", "Etc/GMT+2"
    MidAtlanticStandardTime = "Mid-Atlantic Standard Time", "Etc/GMT+2"
    AzoresStandardTime = "Azores Standard Time", "Atlantic/Azores"
    CapeVerdeStandardTime = "Cape Verde Standard Time", "Atlantic/Cape_Verde"
    UTC = "UTC", "Etc/UTC"
    MoroccoStandardTime = "Morocco Standard Time", "Africa/Casablanca"
    GMTStandardTime = "GMT Standard Time", "Europe/London"
    GreenwichStandardTime = "Greenwich Standard Time", "Atlantic/Reykjavik"
    WEuropeStandardTime = "W. Europe Standard Time", "Europe/Berlin"
    CentralEuropeStandardTime = "Central Europe Standard Time", "Europe/Budapest"
    RomanceStandardTime = "Romance Standard Time", "Europe/Paris"
    CentralEuropeanStandardTime = "Central European Standard Time", "Europe/Warsaw"
    WCentralAfricaStandardTime = "W. Central Africa Standard Time", "Africa/Lagos"
    NamibiaStandardTime = "Namibia Standard Time", "Africa/Windhoek"
    JordanStandardTime = "Jordan Standard Time", "Asia/Amman"
    GTBStandardTime = "GTB Standard Time", "Europe/Bucharest"
    MiddleEastStandardTime = "Middle East Standard Time", "Asia/Beirut"
    EgyptStandardTime = "Egypt Standard Time", "Africa/Cairo"
    EEuropeStandardTime = "E. Europe Standard Time", "Europe/Chisinau"
    SyriaStandardTime = "Syria Standard Time", "Asia/Damascus"
    WestBankStandardTime = "West Bank Standard Time", "Asia/Hebron"
    SouthAfricaStandardTime = "South Africa Standard Time", "Africa/Johannesburg"
    FLEStandardTime = "FLE Standard Time", "Europe/Kyiv"
    TurkeyStandardTime = "Turkey Standard Time", "Europe/Istanbul"
    IsraelStandardTime = "Israel Standard Time", "Asia/Jerusalem"
    KaliningradStandardTime = "Kaliningrad Standard Time", "Europe/Kaliningrad"
    LibyaStandardTime = "Libya Standard Time", "Africa/Tripoli"
    ArabicStandardTime = "Arabic Standard Time", "Asia/Baghdad"
    ArabStandardTime = "Arab Standard Time", "Asia/Riyadh"
    BelarusStandardTime = "Belarus Standard Time", "Europe/Minsk"
    RussianStandardTime = "Russian Standard Time", "Europe/Moscow"
    EAfricaStandardTime = "E. Africa Standard Time", "Africa/Nairobi"
    IranStandardTime = "Iran Standard Time", "Asia/Tehran"
    ArabianStandardTime = "Arabian Standard Time", "Asia/Dubai"
    AstrakhanStandardTime = "Astrakhan Standard Time", "Europe/Astrakhan"
    AzerbaijanStandardTime = "Azerbaijan Standard Time", "Asia/Baku"
    RussiaTimeZone3 = "Russia Time Zone 3", "Europe/Samara"
    MauritiusStandardTime = "Mauritius Standard Time", "Indian/Mauritius"
    GeorgianStandardTime = "Georgian Standard Time", "Asia/Tbilisi"
    CaucasusStandardTime = "Caucasus Standard Time", "Asia/Yerevan"
    AfghanistanStandardTime = "Afghanistan Standard Time", "Asia/Kabul"
    WestAsiaStandardTime = "West Asia Standard Time", "Asia/Tashkent"
    EkaterinburgStandardTime = "Ekaterinburg Standard Time", "Asia/Yekaterinburg"
    PakistanStandardTime = "Pakistan Standard Time", "Asia/Karachi"
    IndiaStandardTime = "India Standard Time", "Asia/Kolkata"
    SriLankaStandardTime = "Sri Lanka Standard Time", "Asia/Colombo"
    NepalStandardTime = "Nepal Standard Time", "Asia/Kathmandu"
    CentralAsiaStandardTime = "Central Asia Standard Time", "Asia/Bishkek"
    BangladeshStandardTime = "Bangladesh Standard Time", "Asia/Dhaka"
    NCentralAsiaStandardTime = "N. Central Asia Standard Time", "Asia/Novosibirsk"
    MyanmarStandardTime = "Myanmar Standard Time", "Asia/Yangon"
    SEAsiaStandardTime = "SE Asia Standard Time", "Asia/Bangkok"
    AltaiStandardTime = "Altai Standard Time", "Asia/Barnaul"
    WMongoliaStandardTime = "W. Mongolia Standard Time", "Asia/Hovd"
    NorthAsiaStandardTime = "North Asia Standard Time", "Asia/Krasnoyarsk"
    TomskStandardTime = "Tomsk Standard Time", "Asia/Tomsk"
    ChinaStandardTime = "China Standard Time", "Asia/Shanghai"
    NorthAsiaEastStandardTime = "North Asia East Standard Time", "Asia/Irkutsk"
    SingaporeStandardTime = "Singapore Standard Time", "Asia/Singapore"
    WAustraliaStandardTime = "W. Australia Standard Time", "Australia/Perth"
    TaipeiStandardTime = "Taipei Standard Time", "Asia/Taipei"
    UlaanbaatarStandardTime = "Ulaanbaatar Standard Time", "Asia/Ulaanbaatar"
    NorthKoreaStandardTime = "North Korea Standard Time", "Asia/Pyongyang"
    AusCentralWStandardTime = "Aus Central W. Standard Time", "Australia/Eucla"
    TransbaikalStandardTime = "Transbaikal Standard Time", "Asia/Chita"
    TokyoStandardTime = "Tokyo Standard Time", "Asia/Tokyo"
    KoreaStandardTime = "Korea Standard Time", "Asia/Seoul"
    YakutskStandardTime = "Yakutsk Standard Time", "Asia/Yakutsk"
    CenAustraliaStandardTime = "Cen. Australia Standard Time", "Australia/Adelaide"
    AUSCentralStandardTime = "AUS Central Standard Time", "Australia/Darwin"
    EAustraliaStandardTime = "E. Australia Standard Time", "Australia/Brisbane"
    AUSEasternStandardTime = "AUS Eastern Standard Time", "Australia/Sydney"
    WestPacificStandardTime = "West Pacific Standard Time", "Pacific/Port_Moresby"
    TasmaniaStandardTime = "Tasmania Standard Time", "Australia/Hobart"
    VladivostokStandardTime = "Vladivostok Standard Time", "Asia/Vladivostok"
    LordHoweStandardTime = "Lord Howe Standard Time", "Australia/Lord_Howe"
    BougainvilleStandardTime = "Bougainville Standard Time", "Pacific/Bougainville"
    RussiaTimeZone10 = "Russia Time Zone 10", "Asia/Srednekolymsk"
    MagadanStandardTime = "Magadan Standard Time", "Asia/Magadan"
    NorfolkStandardTime = "Norfolk Standard Time", "Pacific/Norfolk"
    SakhalinStandardTime = "Sakhalin Standard Time", "Asia/Sakhalin"
    CentralPacificStandardTime = "Central Pacific Standard Time", "Pacific/Guadalcanal"
    RussiaTimeZone11 = "Russia Time Zone 11", "Asia/Kamchatka"
    NewZealandStandardTime = "New Zealand Standard Time", "Pacific/Auckland"
    UTC12 = "UTC+12", "Etc/GMT-12"
    FijiStandardTime = "Fiji Standard Time", "Pacific/Fiji"
    KamchatkaStandardTime = "Kamchatka Standard Time", "Asia/Kamchatka"
    ChathamIslandsStandardTime = "Chatham Islands Standard Time", "Pacific/Chatham"
    TongaStandardTime = "Tonga Standard Time", "Pacific/Tongatapu"
    SamoaStandardTime = "Samoa Standard Time", "Pacific/Apia"
    LineIslandsStandardTime = "Line Islands Standard Time", "Pacific/Kiritimati"

    @property
    def zone(self) -> ZoneInfo:
        """The rules of the zone, summer time among them.

        Raises:
            UsageError: this machine has no data of time zones.
        """
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(self.iana)
        except ZoneInfoNotFoundError:
            raise UsageError(
                f"This machine knows nothing of the time zone {self.iana} ({self.value}).", cure="Install its data: pip install tzdata"
            ) from None
